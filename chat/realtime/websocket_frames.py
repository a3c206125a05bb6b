"""RFC 6455, the side of a server: finished frames to send, and a reader of what a client sends."""

import struct
from enum import IntEnum
from typing import NamedTuple

from chat.protocol.close_codes import CloseCode


class Opcode(IntEnum):
    """What a frame is (section 5.2)."""

    CONTINUATION = 0
    TEXT = 1
    BINARY = 2
    CLOSE = 8
    PING = 9
    PONG = 10


PING_FRAME = b"\x89\x00"
MAX_CONTROL_BYTES = 125

_FINAL, _RESERVED_BITS, _OPCODE_BITS, _MASKED = 0x80, 0x70, 0x0F, 0x80
_MASK_KEY_BYTES = 4
_LENGTH_BYTES = {126: 2, 127: 8}  # how long the length is, if it does not fit the second byte


def text_frame(payload: bytes) -> bytes:
    """A text frame, not masked, as it goes to every client alike."""
    size = len(payload)
    if size < 126:
        return struct.pack("!BB", 0x81, size) + payload
    if size < 65_536:
        return struct.pack("!BBH", 0x81, 126, size) + payload
    return struct.pack("!BBQ", 0x81, 127, size) + payload


def pong_frame(payload: bytes) -> bytes:
    """The answer to a ping, with its payload."""
    return struct.pack("!BB", 0x8A, len(payload)) + payload


def close_frame(code: int, reason: str = "") -> bytes:
    """A close frame."""
    reason_bytes = reason.encode()[: MAX_CONTROL_BYTES - 2]
    return struct.pack("!BBH", 0x88, 2 + len(reason_bytes), code) + reason_bytes


class Message(NamedTuple):
    """What a client has sent: a whole text, or a control frame. The payload of a close begins with its code, if any."""

    opcode: Opcode
    payload: bytes


class FrameError(Exception):
    """A client breaks the protocol: the connection ends with this code."""

    def __init__(self, code: CloseCode) -> None:
        self.code = code


class FrameReader:
    """Reads the frames of a client, which have to be masked, and joins the fragments of a text.

    `max_bytes` is the limit of a text. After a `FrameError` nothing can be read any more. Between two texts it holds
    no buffer.
    """

    __slots__ = ("_at", "_data", "_fragments", "_max_bytes")

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._data: bytes | bytearray = b""
        self._at = 0  # bytes of `_data` that have been read
        self._fragments: bytearray | None = None  # of a text that is not complete

    @property
    def buffered_bytes(self) -> int:
        """Bytes that have come and are not read yet."""
        return len(self._data) - self._at

    def feed(self, data: bytes) -> None:
        """Take what came in."""
        if self._at:
            self._data, self._at = self._data[self._at :], 0
        if not self._data:
            self._data = data
        elif isinstance(self._data, bytearray):  # grows in place: a frame may come byte by byte
            self._data += data
        else:
            self._data = bytearray(self._data + data)

    def read(self) -> Message | None:
        """Return the next message, None if it is not complete yet. Raises `FrameError`."""
        while (frame := self._read_frame()) is not None:
            first, payload = frame
            opcode = first & _OPCODE_BITS
            if opcode == Opcode.TEXT and first & _FINAL:
                return Message(Opcode.TEXT, payload)
            if opcode >= Opcode.CLOSE:
                if opcode == Opcode.CLOSE and payload:
                    _check_close(payload)
                return Message(Opcode(opcode), payload)
            if self._fragments is None:
                self._fragments = bytearray()
            self._fragments += payload
            if first & _FINAL:
                payload, self._fragments = bytes(self._fragments), None
                return Message(Opcode.TEXT, payload)
        return None

    def _read_frame(self) -> tuple[int, bytes] | None:
        """Return the first byte and the unmasked payload of the next frame. Its header is judged before it is whole."""
        data, at = self._data, self._at
        available = len(data) - at
        if available < 2:
            if not available:
                self._data, self._at = b"", 0
            return None
        first, size = data[at], data[at + 1] & ~_MASKED
        self._check_header(first, data[at + 1])
        start = at + 2
        if length_bytes := _LENGTH_BYTES.get(size):
            start += length_bytes
            if start > len(data):
                return None
            size = int.from_bytes(data[at + 2 : start])
        if first & _OPCODE_BITS < Opcode.CLOSE and size + len(self._fragments or b"") > self._max_bytes:
            raise FrameError(CloseCode.MESSAGE_TOO_BIG)
        start += _MASK_KEY_BYTES
        end = start + size
        if end > len(data):
            return None
        self._at = end
        return first, _unmask(bytes(data[start - _MASK_KEY_BYTES : start]), data[start:end])

    def _check_header(self, first: int, second: int) -> None:
        opcode = first & _OPCODE_BITS
        if first & _RESERVED_BITS or not second & _MASKED or opcode not in _OPCODES:
            raise FrameError(CloseCode.PROTOCOL_ERROR)
        if opcode >= Opcode.CLOSE:
            if not first & _FINAL or second & ~_MASKED > MAX_CONTROL_BYTES:
                raise FrameError(CloseCode.PROTOCOL_ERROR)
        elif (opcode == Opcode.CONTINUATION) != (self._fragments is not None):
            raise FrameError(CloseCode.PROTOCOL_ERROR)
        elif opcode == Opcode.BINARY:
            raise FrameError(CloseCode.UNSUPPORTED_DATA)


_OPCODES = frozenset(Opcode)


def _unmask(key: bytes, payload: bytes | bytearray) -> bytes:
    """XOR with the repeated key, as one large number: quicker than any loop in Python."""
    size = len(payload)
    repeated = (key * (size // _MASK_KEY_BYTES + 1))[:size]
    return (int.from_bytes(payload, "little") ^ int.from_bytes(repeated, "little")).to_bytes(size, "little")


def _check_close(payload: bytes) -> None:
    code = int.from_bytes(payload[:2])
    if len(payload) == 1 or not (1000 <= code <= 1003 or 1007 <= code <= 1014 or 3000 <= code <= 4999):
        raise FrameError(CloseCode.PROTOCOL_ERROR)  # one of the codes that must not be sent
    try:
        payload[2:].decode()
    except UnicodeDecodeError:
        raise FrameError(CloseCode.INVALID_DATA) from None
