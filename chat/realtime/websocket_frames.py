"""Websocket frames as bytes (RFC 6455, section 5), and the rejection of what aiohttp accepts from clients.

A frame for many connections is encoded once; aiohttp would encode it for each. Its reader accepts unmasked frames, and
close codes that must not be sent.
"""

import asyncio
import struct
from collections.abc import Callable

PING_FRAME = bytes((0x89, 0))

_MASK_BIT = 0x80  # in the second byte; the other seven bits are a length, or say how many bytes of length follow
_LENGTH_BYTES = {126: 2, 127: 8}
_MASK_KEY_BYTES = 4


def text_frame(payload: bytes) -> bytes:
    """An unmasked text frame around the payload."""
    size = len(payload)
    if size < 126:
        return bytes((0x81, size)) + payload
    if size < 65_536:
        return struct.pack("!BBH", 0x81, 126, size) + payload
    return struct.pack("!BBQ", 0x81, 127, size) + payload


def close_frame(code: int, reason: str) -> bytes:
    """An unmasked close frame. `reason`: at most 123 bytes, for people."""
    reason_bytes = reason.encode()
    return struct.pack("!BBH", 0x88, 2 + len(reason_bytes), code) + reason_bytes


def may_be_sent(close_code: int) -> bool:
    """Return whether an endpoint may send this code in a close frame (RFC 6455, section 7.4, and IANA's registry)."""
    return 1000 <= close_code <= 1003 or 1007 <= close_code <= 1014 or 3000 <= close_code <= 4999


class MaskGuard(asyncio.Protocol):
    """Stands before a connection's protocol and passes on only masked frames, as a client's have to be.

    It has to be in place before the first frame comes. The first unmasked frame is a violation: nothing that comes
    with it or later is passed on.

    received_data: whether anything came since it was set to False
    """

    __slots__ = ("_on_violation", "_partial_header", "_protocol", "_remaining", "received_data")

    def __init__(self, protocol: asyncio.Protocol) -> None:
        self._protocol = protocol
        self._on_violation: Callable[[], None] | None = None
        self.received_data = True
        self._remaining = 0  # bytes of the frame that is coming in; -1 after a violation
        self._partial_header = b""

    def call_on_violation(self, callback: Callable[[], None]) -> None:
        """Have the violation call this: at once, if it has happened already."""
        self._on_violation = callback
        if self._remaining < 0:
            callback()

    def data_received(self, data: bytes) -> None:
        self.received_data = True
        if self._remaining < 0:
            return
        if self._scan_headers(self._partial_header + data):
            self._protocol.data_received(data)
        else:
            self._remaining = -1
            if self._on_violation is not None:
                self._on_violation()

    def _scan_headers(self, data: bytes) -> bool:
        """Go from header to header. Return whether all of them say that a mask follows."""
        at, end = self._remaining, len(data)
        self._partial_header = b""
        while at < end:
            if end - at < 2:
                break
            if not data[at + 1] & _MASK_BIT:
                return False
            size = data[at + 1] & ~_MASK_BIT
            body = at + 2
            if length_bytes := _LENGTH_BYTES.get(size):
                body += length_bytes
                if body > end:
                    break
                size = int.from_bytes(data[at + 2 : body])
            at = body + _MASK_KEY_BYTES + size
        if at < end:
            self._partial_header, at = data[at:], end
        self._remaining = at - end
        return True

    def eof_received(self) -> bool | None:
        return self._protocol.eof_received()

    def connection_lost(self, error: Exception | None) -> None:
        self._protocol.connection_lost(error)

    def pause_writing(self) -> None:
        self._protocol.pause_writing()

    def resume_writing(self) -> None:
        self._protocol.resume_writing()
