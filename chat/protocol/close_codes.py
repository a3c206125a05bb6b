"""How a websocket may end."""

from enum import IntEnum


class Close(IntEnum):
    """Why this server ends a websocket, and whether the client should come back.

    ====  ======================  =============================================
    1001  going away              the client said so, or its page was left
    1002  protocol                no websocket frame, or an unmasked one: a bug in the client, do not come back
    1003  binary                  a bug in the client: do not come back
    1007  not UTF-8               a bug in the client: do not come back
    1008  policy                  rate limit ignored: come back after a pause
    1009  too big                 a frame above 64 KiB: do not send it again
    1011  internal                a bug in the server: come back after a pause
    1012  restart                 come back at once and resume
    4001  session over            log in again, then come back
    4008  too slow                only in the log (the peer sees 1006): resume
    ====  ======================  =============================================
    """

    GOING_AWAY = 1001
    PROTOCOL = 1002
    BINARY = 1003
    BAD_TEXT = 1007
    POLICY = 1008
    TOO_BIG = 1009
    INTERNAL = 1011
    RESTART = 1012
    SESSION_OVER = 4001
    TOO_SLOW = 4008
