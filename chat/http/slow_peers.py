"""Disconnects peers that acknowledge nothing of what is sent to them."""

import asyncio
import socket
from weakref import WeakSet

from aiohttp import web

TCP_USER_TIMEOUT_S = 30  # longer than a phone is without a signal in a tunnel


def limit_unacknowledged_sends(transport: asyncio.BaseTransport) -> None:
    """Have the kernel drop a peer that acknowledges no data for 30 s.

    Without it a peer that answers zero-window probes is kept for ever. Linux only.
    """
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        peer = transport.get_extra_info("socket")
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, TCP_USER_TIMEOUT_S * 1000)


_limited: WeakSet[asyncio.Transport] = WeakSet()  # once a connection: the system call is a twentieth of a short answer


async def on_response_prepare(request: web.Request, _: web.StreamResponse) -> None:
    """A signal before each answer."""
    transport = request.transport
    if transport is not None and transport not in _limited:
        limit_unacknowledged_sends(transport)
        _limited.add(transport)
