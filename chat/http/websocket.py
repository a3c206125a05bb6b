"""The upgrade of a request to a websocket."""

from aiohttp import web

from chat.auth.tokens import Identity
from chat.errors import Unavailable
from chat.http import app_keys as keys
from chat.http.authentication import V2, check_origin, websocket_token
from chat.protocol.frames import FRAME_BYTES
from chat.realtime.connection import CLOSE_S, Session


async def websocket(request: web.Request) -> web.StreamResponse:
    """GET /v1/ws. Refuses before the upgrade: 401 without a token, 403 to a foreign page, 503 while stopping."""
    if request.app[keys.STATE].stopping:
        raise Unavailable("the server is stopping; come back in a moment")
    check_origin(request)
    who, v2 = _who(request)
    response = web.WebSocketResponse(
        protocols=(V2,) if v2 else (),
        compress=False,  # else a frame could not be the same bytes for all
        max_msg_size=FRAME_BYTES + 1,  # aiohttp refuses what reaches its limit
        decode_text=False,
        autoclose=False,  # see Session.close
        timeout=CLOSE_S,
        writer_limit=1,  # send_frame waits as soon as the transport asks to
    )
    await response.prepare(request)
    await Session(request, response, who, v2=v2).run()
    return response


def _who(request: web.Request) -> tuple[Identity, bool]:
    """Who connects, and whether he speaks chat.v2. Raises `Unauthorized`."""
    token, v2 = websocket_token(request)
    return request.app[keys.TOKENS].read(token), v2
