"""PostgreSQL or RabbitMQ away, each in several ways: which errors clients get meanwhile, and how soon it is over.

With LONG=1 all the ways, and with the time limits that there are by default; else one of each.
"""

import asyncio
import contextlib
import os
import random
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from pathlib import Path

import aiohttp
import pytest

from chat.protocol.text import MAX_MESSAGE_CHARS
from tests.faults.checker import History, Write, check
from tests.faults.cluster import LONG, ServerPair, Services, two_servers
from tests.faults.faults import Breaker, freeze_for
from tests.faults.workload import SocketWriter, read_page, text_of
from tests.support.client import Chat
from tests.support.waiting import eventually

Away = Callable[[Breaker], Coroutine[None, None, None]]
pytestmark = pytest.mark.timeout(120)

WRITERS, PER_S = 4, 50.0  # 200 writes a second
WRITE_S = 5.0 if LONG else 2.0  # WRITE_TIMEOUT_S; the default takes its time
ANSWERED_S = WRITE_S + 1.5  # a look at the deadlines, and some time on a busy machine
AWAY_S = WRITE_S + 2.0  # longer than any write may wait: those of the first second or so are answered meanwhile
BACK_S = 5.0  # the first ack after PostgreSQL answers again
BROKER_AWAY_S = 6.0  # a broker that is stuck is noticed within 3 s
BROKER_BACK_S = 30.0  # the longest pause between two tries to connect is 5 s, and a try may take 10 s


@pytest.fixture(scope="module")
async def servers(services: Services) -> AsyncIterator[ServerPair]:
    async with two_servers(services, write_timeout_s=WRITE_S) as pair:
        yield pair


async def hung(breaker: Breaker) -> None:
    await freeze_for(breaker.services.postgres_pids, AWAY_S)


async def read_only(breaker: Breaker) -> None:
    await breaker.read_only(AWAY_S)


async def out_of_connections(breaker: Breaker) -> None:
    await breaker.use_up_connections(AWAY_S, of=breaker.servers)


async def killed(breaker: Breaker) -> None:
    os.kill(breaker.services.postmaster(), signal.SIGKILL)
    await asyncio.sleep(AWAY_S)
    await asyncio.to_thread(breaker.services.postgres.start)


async def behind_a_black_hole(breaker: Breaker) -> None:
    for server in breaker.servers:
        server.to_postgres.hold()
    await asyncio.sleep(AWAY_S)
    for server in breaker.servers:
        server.to_postgres.release()
        server.to_postgres.cut()


async def out_of_disk(breaker: Breaker) -> None:
    with small_disk(breaker.services) as filler:
        await asyncio.to_thread(fill, filler)
        await asyncio.sleep(AWAY_S)
        filler.unlink()
        await asyncio.sleep(1)  # so that it is not the move to another disk that mends it


@contextlib.contextmanager
def small_disk(services: Services) -> Iterator[Path]:
    """Puts the log on a file system of 64 MiB, which only root can make. Yields the path of a file there."""
    place = services.folder / "small"
    place.mkdir()
    options = f"size=64m,uid={services.postgres.data.stat().st_uid},mode=700"
    try:
        subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", place], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("only root can make a small file system")
    try:
        services.administer(f"CREATE TABLESPACE small LOCATION '{place}'", "ALTER TABLE events SET TABLESPACE small")
        yield place / "filler"
        services.administer("ALTER TABLE events SET TABLESPACE pg_default", "DROP TABLESPACE small")
    finally:
        subprocess.run(["umount", "--lazy", place], check=True)


def fill(filler: Path) -> None:
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))


WAYS = [hung, read_only, out_of_connections, killed, behind_a_black_hole, out_of_disk]


class TimedWriter(SocketWriter):
    """A writer that records how long its answers take."""

    slowest = 0.0
    codes: set[str]

    def note(self, write: Write, code: str) -> None:
        self.codes.add(code)
        super().note(write, code)

    def answered(self, after_s: float) -> None:
        self.slowest = max(self.slowest, after_s)


@pytest.mark.timing
@pytest.mark.parametrize("away", WAYS if LONG else WAYS[:1])
async def test_postgresql_may_be_away(services: Services, servers: ServerPair, away: Away) -> None:
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http, Chat(servers[0].url) as chat:
        alice = await chat.sign_up("alice")
        room = await alice.creates()
        client = await alice.connects()
        await client.resume(room)
        writers = [TimedWriter(http, servers, n % 2, n, rooms=[room], per_s=PER_S) for n in range(WRITERS)]
        for number, writer in enumerate(writers):
            writer.codes = set()
            await writer.sign_up(f"w{number}-{time.time_ns()}")
        tasks = [asyncio.create_task(writer.run()) for writer in writers]
        try:
            await eventually(lambda: all(writer.beats for writer in writers))
            await away(Breaker(services, servers, [room], random.Random(1)))
            back = time.monotonic()
            await eventually(lambda: all(writer.beats[-1] > back for writer in writers), within_s=BACK_S)
            for writer in writers:
                writer.quiet = True
            await eventually(lambda: all(writer.settled for writer in writers), within_s=20)
            await asyncio.sleep(0.5)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        history = History([write for writer in writers for write in writer.writes], [], {room: []})
        log = history.logs[room]
        while page := await read_page(http, servers[1].url, alice.headers, room, log[-1][0] if log else 0):
            log += [(frame["seq"], text_of(frame)) for frame in page]
        assert check(history) == []
        assert [odd for writer in writers for odd in writer.odd] == []
        assert not client.ws.closed, "the sockets stay"
        await eventually(lambda: client.seqs(room) == [seq for seq, _ in log])
        codes = set().union(*(writer.codes for writer in writers))
        assert codes <= {"unavailable", "unknown", "busy"}
        assert max(writer.slowest for writer in writers) < ANSWERED_S
        # One batch is with PostgreSQL, if any, and may be undecided; all that waits behind it is certainly not stored.
        assert "unavailable" in codes


# --- RabbitMQ -----------------------------------------------------------------------------------------


async def rabbit_frozen(breaker: Breaker) -> None:
    await freeze_for(breaker.services.rabbit_pids, BROKER_AWAY_S)


async def rabbit_out_of_memory(breaker: Breaker) -> None:
    await breaker.fill_rabbits_memory(BROKER_AWAY_S)


async def rabbit_killed(breaker: Breaker) -> None:
    await breaker.kill_rabbit(BROKER_AWAY_S)


RABBIT_WAYS = [rabbit_frozen, rabbit_out_of_memory, rabbit_killed]


async def states(*chats: Chat) -> list[str]:
    """What each server reports in /health/ready. None is ever unable to work."""
    answers = [await chat.asks("GET", "/health/ready") for chat in chats]
    for answer in answers:
        assert (answer["status"], answer["broker"]) in [("ok", "ok"), ("degraded", "unavailable")]
        assert answer["database"] == "ok"
    return [answer["status"] for answer in answers]


async def all_become(state: str, *chats: Chat, within_s: float | None = None) -> None:
    async with asyncio.timeout(within_s):
        while set(await states(*chats)) != {state}:
            await asyncio.sleep(0.1)


@pytest.mark.timing
@pytest.mark.parametrize("away", RABBIT_WAYS if LONG else RABBIT_WAYS[:1])
async def test_rabbitmq_may_be_away(
    services: Services,
    servers: ServerPair,
    here: Chat,
    there: Chat,
    away: Away,
) -> None:
    alice = await here.sign_up("alice")
    room = await alice.creates()
    clients = [await alice.connects(), await alice.connects(chat=there)]
    for client in clients:
        await client.resume(room)
    await all_become("ok", here, there, within_s=BROKER_BACK_S)
    before = [server.memory_mb() for server in servers]
    gone = asyncio.create_task(away(Breaker(services, servers, [room], random.Random(1))))
    noticed = asyncio.create_task(all_become("degraded", here, there))
    try:
        line, posted, took = "x" * (MAX_MESSAGE_CHARS - 10), 0, []
        while not gone.done():
            started = time.monotonic()
            await asyncio.gather(*(alice.posts(f"{number} {line}", room) for number in range(20)))
            posted += 20
            for client in clients:  # the poll brings the events of the other process
                due = posted + 1
                await eventually(lambda client, due: len(client.seqs(room)) == due, client, due)
            took.append(time.monotonic() - started)
            if noticed.done() and not gone.done():
                answer = await alice.posts("/stock=aapl.us", room, status=503)
                assert answer["error"]["code"] == "unavailable"
        await gone
        assert noticed.done(), "it was away, and ready did not say so"
        await noticed
    finally:
        for task in (noticed, gone):
            task.cancel()
        await asyncio.gather(noticed, gone, return_exceptions=True)
    assert max(took) < 2.0, "half a second for the poll, and a machine that may be busy"
    await all_become("ok", here, there, within_s=BROKER_BACK_S)
    await alice.posts("back", room)
    for client in clients:
        await client.hears("back")
        assert client.seqs(room) == list(range(1, posted + 3))
    assert all(server.memory_mb() - held < 60 for server, held in zip(servers, before, strict=True))


@pytest.mark.skipif(not LONG, reason="LONG=1")
async def test_rabbitmq_may_be_missing_at_the_start(services: Services) -> None:
    await asyncio.to_thread(services.rabbit.stop)
    try:
        async with two_servers(services) as (one, two), Chat(one.url) as here, Chat(two.url) as there:
            alice = await here.sign_up("alice")
            room = await alice.creates()
            clients = [await alice.connects(), await alice.connects(chat=there)]
            for client in clients:
                await client.resume(room)
            assert await states(here, there) == ["degraded", "degraded"]
            await alice.posts("without", room)
            for client in clients:
                await client.hears("without")
            answer = await alice.posts("/stock=aapl.us", room, status=503)
            assert answer["error"]["code"] == "unavailable"
            await asyncio.to_thread(services.start_rabbit)
            await all_become("ok", here, there, within_s=BROKER_BACK_S)
            await alice.posts("with", room)
            for client in clients:
                await client.hears("with")
                assert client.seqs(room) == [1, 2, 3]
    finally:
        await asyncio.to_thread(services.start_rabbit)  # does nothing if it runs
