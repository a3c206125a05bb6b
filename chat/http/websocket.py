"""GET /v1/ws: from a request to a connection of the hub."""

from base64 import b64decode, b64encode
from hashlib import sha1

from aiohttp import HttpVersion11, hdrs, web

from chat.errors import BadRequest, Unavailable
from chat.http import app_keys
from chat.http.authentication import SUBPROTOCOL_V2, check_origin, websocket_token
from chat.http.slow_peers import limit_unacknowledged_sends
from chat.http.takeover import take_over
from chat.realtime.connection import ClientConnection

VERSION = "13"
KEY_BYTES = 16
_ACCEPT_SUFFIX = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, section 1.3


async def websocket(request: web.Request) -> web.StreamResponse:
    """Upgrade, and give the connection its hello. Before the upgrade: 401 without a valid token, 403 for a page of a
    foreign origin, 400 and 426 for what is not an opening handshake, 503 while the server stops."""
    state, backend = request.app[app_keys.STATE], request.app[app_keys.BACKEND]
    if state.stopping:
        raise Unavailable("The server is stopping. Come back in a moment.")
    check_origin(request)
    token, speaks_v2 = websocket_token(request)
    identity = request.app[app_keys.TOKENS].verify(token)
    key = _handshake_key(request)
    connection = ClientConnection(backend, identity, speaks_v2=speaks_v2)
    response = take_over(request, connection, _response_head(key, SUBPROTOCOL_V2 if speaks_v2 else None))
    limit_unacknowledged_sends(connection.transport)
    await connection.open()
    return response


def _handshake_key(request: web.Request) -> bytes:
    """The key of the opening handshake. Raises `BadRequest` unless the request is one (RFC 6455, section 4.2.1)."""
    headers = request.headers
    if request.version != HttpVersion11:
        raise BadRequest("A websocket needs HTTP/1.1. Send the request again with that version.")
    versions = headers.getall(hdrs.SEC_WEBSOCKET_VERSION, [])
    if versions and versions != [VERSION]:
        raise BadRequest(
            f"This version of the websocket protocol is not served. Connect with version {VERSION}.",
            status=426,
            headers={hdrs.SEC_WEBSOCKET_VERSION: VERSION, hdrs.UPGRADE: "websocket", hdrs.CONNECTION: "Upgrade"},
        )
    key = headers.get(hdrs.SEC_WEBSOCKET_KEY, "")
    options = [option.strip().lower() for option in headers.get(hdrs.CONNECTION, "").split(",")]
    is_websocket = headers.get(hdrs.UPGRADE, "").strip().lower() == "websocket" and "upgrade" in options
    if not (is_websocket and versions and _is_key(key)):
        raise BadRequest(
            "The request does not open a websocket. Send Upgrade: websocket, Connection: Upgrade, "
            f"Sec-WebSocket-Version: {VERSION} and a Sec-WebSocket-Key of 16 bytes in base64."
        )
    return key.encode()


def _is_key(key: str) -> bool:
    try:
        return len(b64decode(key, validate=True)) == KEY_BYTES
    except ValueError:
        return False


def _response_head(key: bytes, protocol: str | None) -> bytes:
    accept = b64encode(sha1(key + _ACCEPT_SUFFIX).digest())
    chosen = f"Sec-WebSocket-Protocol: {protocol}\r\n".encode() if protocol else b""
    return (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n"
        b"Sec-WebSocket-Accept: %b\r\n%b\r\n" % (accept, chosen)
    )
