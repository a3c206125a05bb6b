"""How a websocket may end. The names of 1000 to 1015 are those of RFC 6455 and of aiohttp."""

from enum import IntEnum


class CloseCode(IntEnum):
    """Why this server ends a websocket, and whether the client should come back.

    ====  =====================================================================
    1001  the client said so, or its page was left
    1002  a breach of RFC 6455, also an unmasked frame: a bug in the client, do not come back
    1003  a binary frame: a bug in the client, do not come back
    1007  a text frame that is not UTF-8: a bug in the client, do not come back
    1008  the rate limit was ignored: come back after a pause
    1009  a frame above 64 KiB: do not send it again
    1011  a bug in the server: come back after a pause
    1012  the server restarts, or wants the client to begin anew: come back at once and resume
    4001  the session is over: log in again, then come back
    4008  the client reads too slowly; only in the log, the client sees 1006: come back and resume
    ====  =====================================================================
    """

    GOING_AWAY = 1001
    PROTOCOL_ERROR = 1002
    UNSUPPORTED_DATA = 1003
    INVALID_DATA = 1007
    POLICY_VIOLATION = 1008
    MESSAGE_TOO_BIG = 1009
    INTERNAL_ERROR = 1011
    SERVICE_RESTART = 1012
    SESSION_OVER = 4001
    TOO_SLOW = 4008
