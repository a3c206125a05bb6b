"""Slow HTTP: a client that sends slowly, or nothing, is disconnected, and no other client waits for it."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator

import pytest

from tests.faults.cluster import ServerPair, ServerProcess
from tests.support.client import GENERAL, Chat

pytestmark = pytest.mark.timeout(60)
REAPED_S = 15.0
MARGIN_S = 4.0  # timers are rounded up, and a machine may be busy


class SlowRequest:
    """A connection that sends one byte at a time."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.since = time.monotonic()

    async def says(self, text: bytes, every_s: float) -> None:
        with contextlib.suppress(OSError):
            for place in range(len(text)):
                self.writer.write(text[place : place + 1])
                await self.writer.drain()
                await asyncio.sleep(every_s)

    async def ended(self) -> tuple[float, bytes]:
        """After how many seconds the server closed it, and what the server sent."""
        said = b""
        with contextlib.suppress(OSError):
            said = await self.reader.read()
        return time.monotonic() - self.since, said


@contextlib.asynccontextmanager
async def connected(server: ServerProcess) -> AsyncIterator[SlowRequest]:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    try:
        yield SlowRequest(reader, writer)
    finally:
        writer.transport.abort()


async def silent(server: ServerProcess) -> tuple[float, bytes]:
    async with connected(server) as drip:
        return await drip.ended()


async def dripping_header(server: ServerProcess, *, second: bool = False) -> tuple[float, bytes]:
    async with connected(server) as drip:
        if second:
            drip.writer.write(b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n")
            await drip.reader.readuntil(b"}")
        header = b"GET /health/live HTTP/1.1\r\nHost: x\r\nX-Slow: " + b"x" * 1000
        saying = asyncio.create_task(drip.says(header, 0.5))
        try:
            return await drip.ended()
        finally:
            saying.cancel()


async def dripping_body(server: ServerProcess) -> tuple[float, bytes]:
    """Send a request. The call ends with the answer; the connection may stay open a little longer."""
    async with connected(server) as drip:
        head = (
            "POST /v1/auth/login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n"
        )
        drip.writer.write(head.encode())
        saying = asyncio.create_task(drip.says(b"{" + b" " * 900, 0.5))
        try:
            said = await drip.reader.readuntil(b"\r\n")
            return time.monotonic() - drip.since, said
        finally:
            saying.cancel()


@pytest.mark.timing
async def test_slow_and_silent_clients_are_disconnected_and_the_others_are_served(
    servers: ServerPair, here: Chat
) -> None:
    server = servers[0]
    alice = await here.sign_up("alice")
    slow = asyncio.gather(
        *(silent(server) for _ in range(100)),
        *(dripping_header(server) for _ in range(50)),
        dripping_header(server, second=True),
        *(dripping_body(server) for _ in range(50)),
    )
    longest = 0.0
    client = await alice.connects()
    await client.resume(GENERAL)
    while not slow.done():
        started = time.monotonic()
        text = f"served {started}"
        await alice.posts(text)
        await client.hears(text)
        longest = max(longest, time.monotonic() - started)
        await asyncio.sleep(0.2)
    ends = await slow
    for seconds, _ in ends:
        assert REAPED_S - 1 < seconds < REAPED_S + MARGIN_S
    assert all(b" 408 " in said for _, said in ends[-50:])
    assert longest < 2
