"""takeover.py relies on the inside of aiohttp: these tests fail where another version has moved something."""

import asyncio
import contextlib
import gc
import weakref
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from chat.http.takeover import take_over
from tests.support.waiting import eventually

HEAD = b"HTTP/1.1 101 Switching Protocols\r\n\r\n"
UPGRADE = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"


class Recorder(asyncio.Protocol):
    """The protocol that takes over: it keeps what it receives, and answers it in capitals."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.calls.append("made")

    def data_received(self, data: bytes) -> None:
        self.received += data
        self.transport.write(data.upper())

    def connection_lost(self, error: Exception | None) -> None:
        self.calls.append("lost")


class Site:
    """A server whose one handler hands its connections over."""

    def __init__(self) -> None:
        self.recorders: list[Recorder] = []
        self.requests: list[weakref.ref[web.Request]] = []
        self.tasks: list[weakref.ref[Any]] = []
        self.released = asyncio.Event()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        recorder = Recorder()
        self.recorders.append(recorder)
        self.requests.append(weakref.ref(request))
        self.tasks.append(weakref.ref(request.task))
        response = take_over(request, recorder, HEAD)
        await self.released.wait()
        return response

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[tuple[web.AppRunner, int]]:
        app = web.Application()
        app.router.add_route("*", "/", self.handle)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        try:
            yield runner, runner.addresses[0][1]
        finally:
            await runner.cleanup()


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    site = Site()
    yield site
    for recorder in site.recorders:
        recorder.transport.abort()
    await asyncio.sleep(0)


@asynccontextmanager
async def upgraded(port: int, behind: bytes = b"") -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(UPGRADE + behind)
    try:
        assert await reader.readuntil(b"\r\n\r\n") == HEAD
        yield reader, writer
    finally:
        writer.close()
        await asyncio.wait([asyncio.ensure_future(writer.wait_closed())])


@pytest.mark.parametrize("behind", [b"", b"abc", b"x" * 1_000_000], ids=["nothing", "a little", "a megabyte"])
async def test_the_protocol_gets_what_came_behind_the_request_and_all_that_follows(site: Site, behind: bytes) -> None:
    site.released.set()
    async with site.serving() as (_, port), upgraded(port, behind) as (reader, writer):
        writer.write(b"def")
        assert await reader.readexactly(len(behind) + 3) == (behind + b"def").upper()
        assert site.recorders[0].received == behind + b"def"


async def test_aiohttp_keeps_nothing_of_it(site: Site) -> None:
    async with site.serving() as (runner, port), upgraded(port) as (reader, writer):
        site.released.set()
        await eventually(lambda: runner.server is not None and not runner.server.connections)
        gc.collect()
        assert [request() for request in site.requests] == [None]
        assert [task() for task in site.tasks] == [None]
        writer.write(b"alive")
        assert await reader.readexactly(5) == b"ALIVE"


async def test_it_outlives_the_server_and_ends_once(site: Site) -> None:
    site.released.set()
    async with contextlib.AsyncExitStack() as stack:
        async with site.serving() as (_, port):
            reader, writer = await stack.enter_async_context(upgraded(port))
        writer.write(b"alive")
        assert await reader.readexactly(5) == b"ALIVE"
        site.recorders[0].transport.close()
        assert await reader.read() == b""
    assert site.recorders[0].calls == ["made", "lost"]


async def test_a_client_that_is_gone_is_not_taken_over(site: Site) -> None:
    failures: list[Exception] = []

    async def late(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        request.transport.abort()
        with pytest.raises(ConnectionResetError) as raised:
            take_over(request, Recorder(), HEAD)
        failures.append(raised.value)
        return web.Response()

    site.handle = late  # type: ignore[method-assign]
    async with site.serving() as (_, port), aiohttp.ClientSession() as http:
        with pytest.raises(aiohttp.ClientError):
            await http.post(f"http://127.0.0.1:{port}/")  # which a client does not repeat by itself
    assert len(failures) == 1
