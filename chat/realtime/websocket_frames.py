"""Websocket frames as bytes (RFC 6455, section 5): what the library leaves to us."""

import asyncio
import struct
from collections.abc import Callable

PING = bytes((0x89, 0))  # a whole unmasked ping frame

_MASKED = 0x80  # in the second byte; the other seven bits are a length, or say how many bytes of length follow
_LENGTHS = {126: 2, 127: 8}
_KEY = 4  # bytes of a mask


def framed(payload: bytes) -> bytes:
    """A whole unmasked text frame around the payload."""
    size = len(payload)
    if size < 126:
        return bytes((0x81, size)) + payload
    if size < 65_536:
        return struct.pack("!BBH", 0x81, 126, size) + payload
    return struct.pack("!BBQ", 0x81, 127, size) + payload


def goodbye(code: int, reason: str) -> bytes:
    """A whole unmasked close frame. `reason`: at most 123 bytes, for people."""
    told = reason.encode()
    return struct.pack("!BBH", 0x88, 2 + len(told), code) + told


class Masked(asyncio.Protocol):
    """Stands before a connection's protocol and passes on only frames that are masked, as a client's have to be.

    aiohttp's reader takes others as well. It has to be in place before the first frame comes. The first frame that
    is not masked calls `refuse`, and nothing that comes with it or later is passed on. `heard`: whether anything came
    since that was set to False.
    """

    __slots__ = ("_head", "_left", "_protocol", "_refuse", "heard")

    def __init__(self, protocol: asyncio.Protocol, refuse: Callable[[], None]) -> None:
        self._protocol, self._refuse = protocol, refuse
        self.heard = True
        self._left = 0  # bytes of the frame that is coming in; -1: refused
        self._head = b""  # a header of which not all is here

    def data_received(self, data: bytes) -> None:
        self.heard = True
        if self._left < 0:
            return
        if self._walk(self._head + data):
            self._protocol.data_received(data)
        else:
            self._left = -1
            self._refuse()

    def _walk(self, data: bytes) -> bool:
        """From header to header; whether all of them say that a mask follows."""
        at, end = self._left, len(data)
        self._head = b""
        while at < end:
            if end - at < 2:
                break
            if not data[at + 1] & _MASKED:
                return False
            size = data[at + 1] & ~_MASKED
            body = at + 2
            if more := _LENGTHS.get(size):
                body += more
                if body > end:
                    break
                size = int.from_bytes(data[at + 2 : body])
            at = body + _KEY + size
        if at < end:
            self._head, at = data[at:], end
        self._left = at - end
        return True

    def eof_received(self) -> bool | None:
        return self._protocol.eof_received()

    def connection_lost(self, error: Exception | None) -> None:
        self._protocol.connection_lost(error)

    def pause_writing(self) -> None:
        self._protocol.pause_writing()

    def resume_writing(self) -> None:
        self._protocol.resume_writing()
