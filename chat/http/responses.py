"""What goes out, as JSON."""

from typing import Any

from aiohttp import web

from chat.protocol.codec import encode


def json_response(value: Any, status: int = 200) -> web.Response:
    """A struct, a list of structs or a dict as JSON."""
    return web.Response(status=status, body=encode(value), content_type="application/json")


def encoded_response(body: bytes, status: int = 200) -> web.Response:
    """Finished JSON: events, byte for byte as the websockets get them."""
    return web.Response(status=status, body=body, content_type="application/json")
