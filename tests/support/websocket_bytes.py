"""RFC 6455, byte for byte: the request that opens a websocket, and frames, also those that no client should send."""

import asyncio
import contextlib
import json
import struct
from collections.abc import AsyncIterator, Iterator
from enum import IntEnum
from typing import Self

KEY = "dGhlIHNhbXBsZSBub25jZQ=="
MASK_BIT = 0x80


class Opcode(IntEnum):
    """The opcodes of RFC 6455, section 5.2."""

    CONTINUATION = 0
    TEXT = 1
    BINARY = 2
    CLOSE = 8
    PING = 9
    PONG = 10


def upgrade_request(
    path: str = "/v1/ws",
    *,
    token: str | None = None,
    host: str = "127.0.0.1",
    method: str = "GET",
    http: str = "1.1",
    version: int = 13,
) -> bytes:
    """Return the request that opens a websocket; with a token it speaks chat.v2."""
    protocol = f"Sec-WebSocket-Protocol: chat.v2, bearer.{token}\r\n" if token else ""
    return (
        f"{method} {path} HTTP/{http}\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Version: {version}\r\n{protocol}\r\n"
    ).encode()


def client_frame(
    opcode: int,
    payload: bytes = b"",
    *,
    fin: bool = True,
    rsv: int = 0,
    masked: bool = True,
    mask_key: bytes = bytes(4),
) -> bytes:
    """Return a frame as a client sends it. The mask is zero, unless told otherwise: that is a mask like any other."""
    size, mask = len(payload), MASK_BIT if masked else 0
    first = fin << 7 | rsv << 4 | opcode
    if size < 126:
        head = struct.pack("!BB", first, mask | size)
    elif size < 65_536:
        head = struct.pack("!BBH", first, mask | 126, size)
    else:
        head = struct.pack("!BBQ", first, mask | 127, size)
    if any(mask_key):
        payload = bytes(byte ^ mask_key[at % 4] for at, byte in enumerate(payload))
    return head + mask_key * masked + payload


def close_payload(code: int, reason: bytes = b"") -> bytes:
    """Return the payload of a close frame."""
    return struct.pack("!H", code) + reason


def text_frame(content: object) -> bytes:
    """Return a client's text frame: bytes as they are, anything else as JSON."""
    return client_frame(Opcode.TEXT, content if isinstance(content, bytes) else json.dumps(content).encode())


def payload_ranges(data: bytes | bytearray, start: int = 0) -> Iterator[tuple[int, int]]:
    """Yield where the payload of each complete frame of a server begins and ends."""
    size = len(data)
    while start + 2 <= size:
        begin, length = start + 2, data[start + 1]
        if more := {126: 2, 127: 8}.get(length):
            begin += more
            if begin > size:
                return
            length = int.from_bytes(data[begin - more : begin])
        start = begin + length
        if start > size:
            return
        yield begin, start


class RawWebsocket:
    """A websocket on which a test writes every byte."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    @contextlib.asynccontextmanager
    async def connect(cls, port: int, request: bytes) -> AsyncIterator[Self]:
        """Send a request, and whatever else stands in these bytes. The server has to accept the websocket."""
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 101"), head
            yield cls(reader, writer)
        finally:
            writer.transport.abort()

    async def send(self, *frames: bytes) -> None:
        """Write each frame by itself, until the server has closed the connection."""
        with contextlib.suppress(OSError):
            for frame in frames:
                self.writer.write(frame)
                await self.writer.drain()

    async def receive(self) -> tuple[int, bytes]:
        """Return the next frame's opcode and payload."""
        first, size = await self.reader.readexactly(2)
        if size == 126:
            (size,) = struct.unpack("!H", await self.reader.readexactly(2))
        elif size == 127:
            (size,) = struct.unpack("!Q", await self.reader.readexactly(8))
        return first & 15, await self.reader.readexactly(size)

    async def close_code(self) -> int | None:
        """Return the code of the close frame; 1005 if it has none, None if the connection ended without one."""
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            async with asyncio.timeout(10):
                while True:
                    opcode, payload = await self.receive()
                    if opcode == Opcode.CLOSE:
                        return int(struct.unpack("!H", payload[:2])[0]) if payload else 1005
        return None

    async def error(self) -> str:
        """Return the code of the next error frame."""
        async with asyncio.timeout(10):
            while True:
                opcode, payload = await self.receive()
                assert opcode != Opcode.CLOSE, f"closed with {payload!r}"
                if opcode == Opcode.TEXT and json.loads(payload)["type"] == 14:
                    return str(json.loads(payload)["code"])
