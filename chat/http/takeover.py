"""Give a request's connection to another protocol. The only module that knows the inside of aiohttp.

For each websocket aiohttp would keep the request with its headers, a task, a parser and its buffers: 12 KiB. Here the
transport gets a protocol of ours, and aiohttp is told that the connection is lost, upon which it lets go of everything.
The version is pinned in the lock files; tests/http/test_takeover.py fails where another one has moved something.
"""

import asyncio

from aiohttp import web
from aiohttp.web_protocol import RequestHandler


class TakenOver(web.StreamResponse):
    """The answer of a handler whose connection has been taken over: there is nothing that aiohttp should send."""

    def __init__(self) -> None:
        super().__init__(status=101)

    async def prepare(self, request: web.BaseRequest) -> None:
        return None

    async def write_eof(self, data: bytes = b"") -> None:
        return None


def take_over(request: web.Request, protocol: asyncio.Protocol, head: bytes) -> TakenOver:
    """Send `head`, the head of the response, then let `protocol` have the connection.

    What came behind the request, in the same segment, is the first that it receives. Return what the handler has to
    return in the end. Raises `ConnectionResetError` when the client is gone.
    """
    handler = request.protocol
    assert type(handler) is RequestHandler
    transport = handler.transport
    if transport is None or transport.is_closing():
        raise ConnectionResetError("The client is gone.")
    received = handler._message_tail
    transport.set_protocol(protocol)
    handler.transport = None  # or it would close it
    handler.connection_lost(None)
    transport.resume_reading()  # paused where much came behind the request
    transport.write(head)
    protocol.connection_made(transport)
    if received:
        protocol.data_received(received)
    return TakenOver()
