"""PostgreSQL or RabbitMQ away, each in several ways: what people are told meanwhile, and how soon it is over.

With LONG=1 all the ways; else one of each.
"""

import asyncio
import os
import random
import signal
import time
from collections.abc import Callable, Coroutine

import aiohttp
import pytest

from chat.protocol import MESSAGE_CHARS
from tests.actors import Chat, eventually
from tests.faults.breaking import Breaker, freeze_for
from tests.faults.crowd import SocketWriter, read_page, text_of
from tests.faults.history import History, check
from tests.faults.stage import Server, Services

Away = Callable[[Breaker], Coroutine[None, None, None]]
LONG = bool(os.environ.get("LONG"))
pytestmark = pytest.mark.timeout(120)

WRITERS, PER_S = 4, 50.0  # 200 writes a second
BACK_S = 5.0  # the first ack after PostgreSQL answers again
ANSWERED_S = 6.5  # WRITE_TIMEOUT_S, a look at the deadlines, and some time on a busy machine
AWAY_S = 6.0  # longer than any write may wait


async def hung(breaker: Breaker) -> None:
    await freeze_for(breaker.services.postgres_pids, AWAY_S)


async def read_only(breaker: Breaker) -> None:
    await breaker.read_only(AWAY_S)


async def out_of_connections(breaker: Breaker) -> None:
    for server in breaker.servers:
        server.to_postgres.cut()
    await breaker.use_up_connections(AWAY_S)


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


WAYS = [hung, read_only, out_of_connections, killed, behind_a_black_hole]


class Noting(SocketWriter):
    """A writer who looks at the clock."""

    slowest = 0.0
    codes: set[str]

    def note(self, write: object, code: str) -> None:
        self.codes.add(code)
        super().note(write, code)  # type: ignore[arg-type]

    def answered(self, after_s: float) -> None:
        self.slowest = max(self.slowest, after_s)


@pytest.mark.parametrize("away", WAYS if LONG else WAYS[:1])
async def test_postgresql_may_be_away(services: Services, servers: tuple[Server, Server], away: Away) -> None:
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http, Chat(servers[0].url) as chat:
        alice = await chat.sign_up("alice")
        room = await alice.creates()
        wire = await alice.connects()
        await wire.resume(room)
        writers = [Noting(http, servers, n % 2, n, rooms=[room], per_s=PER_S) for n in range(WRITERS)]
        for number, writer in enumerate(writers):
            writer.codes = set()
            await writer.sign_up(f"w{number}-{time.time_ns()}")
        tasks = [asyncio.create_task(writer.run()) for writer in writers]
        try:
            await eventually(lambda: all(writer.beats for writer in writers))
            await away(Breaker(services, servers, [room], random.Random(1)))
            back = time.monotonic()
            await eventually(lambda: all(writer.beats[-1] > back for writer in writers), BACK_S)
            for writer in writers:
                writer.quiet = True
            await eventually(lambda: all(writer.settled for writer in writers), 20)
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
        assert not wire.ws.closed, "the sockets stay"
        await eventually(lambda: wire.seqs(room) == [seq for seq, _ in log])
        told = set().union(*(writer.codes for writer in writers))
        assert told <= {"unavailable", "unknown", "busy"}
        assert max(writer.slowest for writer in writers) < ANSWERED_S
        if away is read_only:  # it answers: everybody knows
            assert "unavailable" in told


# --- RabbitMQ -----------------------------------------------------------------------------------------


async def rabbit_frozen(breaker: Breaker) -> None:
    await freeze_for(breaker.services.rabbit_pids, AWAY_S)


async def rabbit_out_of_memory(breaker: Breaker) -> None:
    await breaker.fill_rabbits_memory(AWAY_S)


async def rabbit_killed(breaker: Breaker) -> None:
    await breaker.kill_rabbit(AWAY_S)


RABBIT_WAYS = [rabbit_frozen, rabbit_out_of_memory, rabbit_killed]


@pytest.mark.parametrize("away", RABBIT_WAYS if LONG else RABBIT_WAYS[:1])
async def test_rabbitmq_may_be_away(
    services: Services,
    servers: tuple[Server, Server],
    here: Chat,
    there: Chat,
    away: Away,
) -> None:
    alice = await here.sign_up("alice")
    room = await alice.creates()
    wires = [await alice.connects(), await alice.connects(chat=there)]
    for wire in wires:
        await wire.resume(room)
    before = [server.memory_mb() for server in servers]
    gone = asyncio.create_task(away(Breaker(services, servers, [room], random.Random(1))))
    await asyncio.sleep(0.5)
    line, posted, brokers = "x" * (MESSAGE_CHARS - 10), 0, set()
    while not gone.done():
        started = time.monotonic()
        await asyncio.gather(*(alice.posts(f"{number} {line}", room) for number in range(20)))
        posted += 20
        for wire in wires:  # two processes hear each other by the sweep
            due = posted + 1
            await eventually(lambda wire=wire, due=due: len(wire.seqs(room)) == due, 2.0)  # type: ignore[misc]
        assert time.monotonic() - started < 2.0
        brokers.add((await here.asks("GET", "/health/ready"))["broker"])
        if posted == 100:
            told = await alice.posts("/stock=aapl.us", room, status=503)
            assert told["error"]["code"] == "unavailable"
    assert "unavailable" in brokers
    async with asyncio.timeout(30):
        while (await here.asks("GET", "/health/ready"))["broker"] != "ok":
            await asyncio.sleep(0.1)
    await alice.posts("back", room)
    for wire in wires:
        await wire.hears("back")
        assert wire.seqs(room) == list(range(1, posted + 3))
    assert all(server.memory_mb() - held < 60 for server, held in zip(servers, before, strict=True))
