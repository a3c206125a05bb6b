"""GET /v1/ws: from a request to a connection of the hub.

aiohttp checks too little here: it upgrades HEAD and HTTP/1.0, takes versions that are not RFC 6455's, and reads frames
that came with the request before anything can stand in their way.
"""

import logging

from aiohttp import HttpVersion11, WSMsgType, hdrs, web

from chat.errors import BadRequest, Unavailable
from chat.http import app_keys
from chat.http.authentication import SUBPROTOCOL_V2, check_origin, websocket_token
from chat.protocol.close_codes import CloseCode
from chat.protocol.frames import MAX_FRAME_BYTES
from chat.realtime.connection import CLOSE_TIMEOUT_S, ClientConnection
from chat.realtime.websocket_frames import MaskGuard, may_be_sent

WEBSOCKET_VERSION = "13"

log = logging.getLogger(__name__)


async def websocket(request: web.Request) -> web.StreamResponse:
    """Upgrade, and serve until the connection ends. Before the upgrade: 401 without a valid token, 403 for a page of
    a foreign origin, 400 and 426 for what is not the opening handshake of RFC 6455, 503 while the server stops."""
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
    _check_handshake(request, response)
    mask_guard = _guard_transport(request)
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
        await connection.run(response, mask_guard)
    finally:
        log.info("user %d has disconnected (%s)", identity.user_id, connection.close_code or response.close_code)
    if connection.close_code is None and response.close_code and not may_be_sent(response.close_code):
        await response.close(code=CloseCode.PROTOCOL_ERROR)  # else aiohttp answers the peer's close with 1000
    return response


def _check_handshake(request: web.Request, response: web.WebSocketResponse) -> None:
    """Raise `BadRequest` unless the request opens a websocket as RFC 6455, section 4.2.1, says."""
    if request.version != HttpVersion11:
        raise BadRequest("A websocket needs HTTP/1.1. Send the request again with that version.")
    versions = request.headers.getall(hdrs.SEC_WEBSOCKET_VERSION, [])
    if versions and versions != [WEBSOCKET_VERSION]:
        raise BadRequest(
            f"This version of the websocket protocol is not served. Connect with version {WEBSOCKET_VERSION}.",
            status=426,
            headers={
                hdrs.SEC_WEBSOCKET_VERSION: WEBSOCKET_VERSION,
                hdrs.UPGRADE: "websocket",
                hdrs.CONNECTION: "Upgrade",
            },
        )
    if not response.can_prepare(request):
        raise BadRequest(
            "The request does not open a websocket. Send Upgrade: websocket, Connection: Upgrade, "
            f"Sec-WebSocket-Version: {WEBSOCKET_VERSION} and a Sec-WebSocket-Key of 16 bytes in base64."
        )


def _guard_transport(request: web.Request) -> MaskGuard:
    """Return the guard that all bytes after the head of the request pass.

    aiohttp keeps those that came together with the head until the upgrade, and gives them to its frame reader then.
    They are taken back and go through the guard, too.
    """
    protocol, transport = request.protocol, request.transport
    if transport is None:
        raise ConnectionResetError("The client is gone.")
    early, protocol._message_tail = protocol._message_tail, b""
    guard = MaskGuard(protocol)
    transport.set_protocol(guard)
    if early:
        guard.data_received(early)
    return guard
