"""GET /v1/ws: from a request to a connection of the hub."""

import logging

from aiohttp import WSMsgType, web

from chat.errors import Unavailable
from chat.http import app_keys
from chat.http.authentication import SUBPROTOCOL_V2, check_origin, websocket_token
from chat.protocol.close_codes import CloseCode
from chat.protocol.frames import MAX_FRAME_BYTES
from chat.realtime.connection import CLOSE_TIMEOUT_S, ClientConnection

log = logging.getLogger(__name__)


async def websocket(request: web.Request) -> web.StreamResponse:
    """Upgrade, and serve until the connection ends. Before the upgrade: 401 without a valid token, 403 for a page of
    a foreign origin, 503 while the server stops."""
    if request.app[app_keys.STATE].stopping:
        raise Unavailable("The server is stopping. Come back in a moment.")
    check_origin(request)
    token, speaks_v2 = websocket_token(request)
    identity = request.app[app_keys.TOKENS].verify(token)
    response = web.WebSocketResponse(
        protocols=(SUBPROTOCOL_V2,) if speaks_v2 else (),
        compress=False,  # else a frame could not be the same bytes for all
        max_msg_size=MAX_FRAME_BYTES + 1,  # aiohttp refuses what reaches its limit
        decode_text=False,
        autoclose=False,  # see ClientConnection.close
        timeout=CLOSE_TIMEOUT_S,
        writer_limit=1,  # send_frame waits as soon as the transport asks to
    )
    await response.prepare(request)
    assert request.transport is not None

    async def send_and_drain(payload: bytes) -> None:
        await response.send_frame(payload, WSMsgType.TEXT)

    connection = ClientConnection(
        request.app[app_keys.BACKEND],
        identity,
        request.transport,
        speaks_v2=speaks_v2,
        send_and_drain=send_and_drain,
    )
    if request.app[app_keys.STATE].stopping:  # since the request came: nobody else tells this connection
        connection.close(CloseCode.SERVICE_RESTART)
    try:
        await connection.run(response)
    finally:
        log.info("user %d has disconnected (%s)", identity.user_id, connection.close_code or response.close_code)
    return response
