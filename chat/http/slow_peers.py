"""Cuts peers that take nothing of what is sent to them."""

import socket

from aiohttp import web

TAKE_S = 30  # longer than a phone is without a signal in a tunnel


async def cut_who_takes_nothing(request: web.Request, _: web.StreamResponse) -> None:
    """A signal, before each answer: who takes nothing of what is sent to him for `TAKE_S` is cut, websockets too. By
    the kernel, which alone sees that; left to itself it would keep it while the peer lives. Linux only."""
    if request.transport is not None and hasattr(socket, "TCP_USER_TIMEOUT"):
        peer = request.transport.get_extra_info("socket")
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, TAKE_S * 1000)
