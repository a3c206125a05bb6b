"""What goes out, as JSON."""

from typing import Any

from aiohttp import web

from chat.protocol.codec import encode


def _json(value: Any, status: int = 200) -> web.Response:
    return web.Response(status=status, body=encode(value), content_type="application/json")


def _array(body: bytes) -> web.Response:
    """Events, each byte for byte as the sockets get it."""
    return web.Response(body=body, content_type="application/json")
