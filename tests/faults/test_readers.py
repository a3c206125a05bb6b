"""Clients that do not read: only they are disconnected, and the memory held for them is freed."""

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from statistics import median

import pytest

from tests.faults.cluster import ServerPair, ServerProcess
from tests.support.client import Chat, Person
from tests.support.waiting import eventually
from tests.support.websocket_bytes import Opcode, client_frame, text_frame, upgrade_request

pytestmark = pytest.mark.timeout(90)
Habit = Callable[[socket.socket], Coroutine[None, None, None]]
LINE = "x" * 3_900
READERS = 10


@contextlib.asynccontextmanager
async def reluctant(server: ServerProcess, person: Person, room: int) -> AsyncIterator[socket.socket]:
    """A raw websocket, live in a room. Nothing is read unless the test reads it.

    It answers pings, or the keepalive might close it before the effect under test.
    """
    loop = asyncio.get_running_loop()
    with socket.socket() as end:
        end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        end.setblocking(False)
        await loop.sock_connect(end, ("127.0.0.1", server.port))
        await loop.sock_sendall(end, upgrade_request(token=person.token))
        said = b""
        while b'"type":10' not in said:
            said += await loop.sock_recv(end, 4096)
        frame = b'{"type":11,"chatroomId":%d,"after":999999}' % room
        await loop.sock_sendall(end, text_frame(frame))
        while b'"complete"' not in said:
            said += await loop.sock_recv(end, 4096)
        living = asyncio.create_task(_pong(end))
        try:
            yield end
        finally:
            living.cancel()
            await asyncio.gather(living, return_exceptions=True)


async def _pong(end: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while True:
            await asyncio.get_running_loop().sock_sendall(end, client_frame(Opcode.PONG))
            await asyncio.sleep(0.5)


async def nothing(end: socket.socket) -> None:
    await asyncio.Event().wait()


async def a_kilobyte_a_second(end: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while await asyncio.get_running_loop().sock_recv(end, 1024):
            await asyncio.sleep(1)


async def delays(alice: Person, room: int, count: int) -> float:
    """The median of how long a line takes to come back to its author, with 50 KB/s behind it."""
    client = await alice.connects()
    await client.resume(room, after=10**9)
    took = []
    for number in range(count):
        started = time.monotonic()
        text = f"{number} {LINE}"
        await client.says(text, room, requestId=f"delay-{started}")
        await client.hears(text)
        took.append(time.monotonic() - started)
    await client.close()
    return median(took)


@pytest.mark.timing
@pytest.mark.parametrize("habit", [nothing, a_kilobyte_a_second])
async def test_a_reader_that_does_not_read_is_cut_alone(servers: ServerPair, here: Chat, habit: Habit) -> None:
    server = servers[0]
    alice, bob = await here.sign_up("alice"), await here.sign_up("bob")
    room = await alice.creates()
    await bob.joins(room)
    usual = max([await delays(alice, room, 50) for _ in range(3)])
    before = server.memory_mb()
    async with contextlib.AsyncExitStack() as stack:
        ends = [await stack.enter_async_context(reluctant(server, bob, room)) for _ in range(READERS)]
        reading = [asyncio.create_task(habit(end)) for end in ends]
        assert await delays(alice, room, 400) < 2 * usual + 0.02, "the others have to wait"
        assert server.memory_mb() - before < READERS * 1.5 + 20, "more than their outboxes"
        await eventually(lambda: server.times_logged(f"user {bob.id} reads too slowly") == READERS, within_s=30)
        for task in reading:
            task.cancel()
        await asyncio.gather(*reading, return_exceptions=True)
    await eventually(lambda: server.times_logged(f"user {bob.id} has disconnected") == READERS, within_s=30)


async def test_a_reader_that_vanishes_is_disconnected(servers: ServerPair, here: Chat) -> None:
    """The client's host is gone: nothing comes back, not even a refusal. The ping detects it."""
    server = servers[0]
    alice = await here.sign_up("alice")
    clients = [await alice.connects() for _ in range(5)]
    server.front.hold()
    try:
        await eventually(lambda: server.times_logged(f"user {alice.id} has disconnected") == len(clients), within_s=20)
    finally:
        server.front.release()
        server.front.cut()


async def test_a_reader_that_ends_its_connection_is_forgotten(servers: ServerPair, here: Chat) -> None:
    server = servers[0]
    alice = await here.sign_up("alice")
    async with reluctant(server, alice, await alice.creates()) as end:
        end.shutdown(socket.SHUT_WR)
        await eventually(lambda: f"user {alice.id} has disconnected" in server.log.read_text())
