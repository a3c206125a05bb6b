"""chat/realtime/relay.py: the doorbell, the repair and the sweep, each without the others."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import psycopg2
import pytest

from chat.auth.tokens import Tokens
from chat.broker.memory import MemoryBroker
from chat.db.errors import StatementFailed, Unreachable
from chat.db.pool import Database
from chat.domain.accounts import User
from chat.eventlog.event import event_notification
from chat.eventlog.writer import CONNECTIONS, EventWriter
from chat.protocol.close_codes import CloseCode
from chat.protocol.notifications import encode_notifications
from chat.realtime import hub as hub_module
from chat.realtime import relay as module
from chat.realtime.hub import Hub
from chat.realtime.relay import Relay
from chat.realtime.subscriber import Subscriber
from tests.support.fake_transport import FakeTransport
from tests.support.names import unique
from tests.support.sample_events import line
from tests.support.waiting import eventually


class Deaf(MemoryBroker):
    """Rings reach nobody, but are kept."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: list[bytes] = []

    def publish(self, body: bytes) -> None:
        self.kept.append(body)


class Process:
    """What a server has between its journal and its sockets."""

    def __init__(self, db: Database, journal: EventWriter, broker: Deaf) -> None:
        self.db, self.journal, self.broker = db, journal, broker
        self.hub = Hub()
        tokens: Any = SimpleNamespace(epoch="")
        self.tokens: Tokens = tokens
        self.relay = Relay(db, broker, self.hub, self.tokens)

    async def person(self) -> int:
        name = unique("person")
        row = await self.db.fetch_one("users/create", User, username=name, email=f"{name}@x.org", password_hash="x")
        assert row is not None
        return row.id

    async def room(self, user: int) -> int:
        answer = await self.journal.run(
            "rooms/create", name=unique("room"), topic="", user_id=user, request_id=unique("client")
        )
        assert answer.event is not None
        return answer.event.room_id

    async def says(self, room: int, user: int, times: int = 1) -> None:
        await asyncio.gather(*(self.journal.append(room, user, unique("client"), "hi") for _ in range(times)))

    def connects(self, user: int, *known: int) -> tuple[Subscriber, FakeTransport]:
        pipe = FakeTransport()
        socket = Subscriber(user, pipe, pipe.closed.append, speaks_v2=True, buffer_limit_bytes=1 << 20)
        self.hub.connect(socket)
        self.hub.set_membership(socket, dict.fromkeys(known, 0))
        return socket, pipe

    def listens(self, user: int, room: int, seq: int, *known: int) -> FakeTransport:
        socket, pipe = self.connects(user, room, *known)
        self.hub.join(socket, room, seq)
        return pipe


@pytest.fixture
async def process(database_url: str) -> AsyncIterator[Process]:
    db = Database(database_url, size=2, name="relay")
    writing = Database(database_url, size=CONNECTIONS, name="journal")
    await db.open()
    await writing.open()
    broker = Deaf()
    journal = EventWriter(writing, broker, timeout_s=5, queue_limit=10_000)
    journal.open()
    made = Process(db, journal, broker)
    made.tokens.epoch = await db.fetch_value("epoch/get", str) or ""
    yield made
    await journal.close()
    await writing.close()
    await db.close()


@contextlib.asynccontextmanager
async def sweeping(process: Process) -> AsyncIterator[None]:
    task = asyncio.create_task(process.relay.run())
    try:
        yield
    finally:
        while not task.done():  # before Python 3.12, wait_for swallows a cancel that comes with its result
            task.cancel()
            await asyncio.wait([task], timeout=0.1)


async def test_a_ring_carries_the_events_to_the_sockets(process: Process) -> None:
    pipe = process.listens(1, 7, 0)
    process.relay.on_notifications(
        encode_notifications([event_notification(line(7, 1)), event_notification(line(7, 2))])
    )
    await asyncio.sleep(0)
    assert pipe.seqs(7) == [1, 2]


async def test_a_gap_is_read_from_the_log(process: Process, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub_module, "REORDER_WAIT_S", 0.005)
    monkeypatch.setattr(module, "GAP_FILL_ROWS", 3)
    alice = await process.person()
    room = await process.room(alice)
    pipe = process.listens(alice, room, 1)
    await process.says(room, alice, 10)
    await process.says(room, alice)
    process.relay.on_notifications(process.broker.kept[-1])
    await eventually(lambda: pipe.seqs(room) == list(range(2, 13)))


async def test_the_poll_finds_every_room_that_is_behind(process: Process, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "POLL_ROOMS", 2)
    alice = await process.person()
    rooms = [await process.room(alice) for _ in range(5)]
    pipes = [process.listens(alice, room, 1, *rooms) for room in rooms]
    for room in rooms:
        await process.says(room, alice)
    await process.relay.poll()
    for room, pipe in zip(rooms, pipes, strict=True):
        await eventually(lambda room, pipe: pipe.seqs(room) == [2], room, pipe)


async def test_whoever_asks_for_a_repair_meanwhile_gets_the_same(process: Process) -> None:
    alice = await process.person()
    room = await process.room(alice)
    process.listens(alice, room, 0)
    first = process.relay.fill_gap(room)
    assert process.relay.fill_gap(room) is first
    await first
    assert process.relay.fill_gap(room) is not first
    assert process.hub.last_sent_seq(room) == 1


async def test_a_repair_without_postgresql_leaves_it_to_the_sweep(process: Process) -> None:
    process.listens(1, 7, 0)
    await process.db.close()
    await process.relay.fill_gap(7)
    assert process.hub.last_sent_seq(7) == 0


async def test_the_sweep_goes_on_without_any_ring(process: Process, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "POLL_INTERVAL_S", 0.01)
    alice = await process.person()
    room = await process.room(alice)
    pipe = process.listens(alice, room, 1)
    async with sweeping(process):
        for last, count in ((2, 1), (22, 20), (622, 600)):
            await process.says(room, alice, count)
            await eventually(lambda last: process.hub.last_sent_seq(room) == last, last)
    await asyncio.sleep(0)
    assert pipe.seqs(room) == list(range(2, 623))


async def test_the_sweep_comes_again_when_postgresql_has_been_away(
    process: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "POLL_INTERVAL_S", 0.01)
    alice = await process.person()
    room = await process.room(alice)
    pipe = process.listens(alice, room, 0)
    away = True
    real = process.db.fetch_all

    async def fetch_all(name: str, row: Any, **params: Any) -> Any:
        if away:
            raise Unreachable
        return await real(name, row, **params)

    monkeypatch.setattr(process.db, "fetch_all", fetch_all)
    async with sweeping(process):
        await eventually(lambda: process.relay.database_down)
        away = False
        await eventually(lambda: pipe.seqs(room) == [1])
        await eventually(lambda: not process.relay.database_down)


async def test_the_sweep_finds_who_has_joined_elsewhere(process: Process) -> None:
    alice, bob = await process.person(), await process.person()
    room = await process.room(alice)
    _, desk = process.connects(bob)
    _, phone = process.connects(bob)
    await process.journal.run("members/join", room_id=room, user_id=bob)
    await process.says(room, alice, 2)
    await process.relay.poll()
    await asyncio.sleep(0)
    assert desk.seqs(room) == phone.seqs(room) == [2, 3, 4]
    assert desk.frames()[0]["action"] == "joined" and desk.frames()[0]["room"]["id"] == room


async def test_a_join_that_was_never_heard_is_not_forgotten_when_others_are_in_the_room(process: Process) -> None:
    alice, bob = await process.person(), await process.person()
    room = await process.room(alice)
    _, unaware = process.connects(bob)
    await process.journal.run("members/join", room_id=room, user_id=bob)
    await process.says(room, alice)
    process.listens(alice, room, 3)  # from behind the other's join
    await process.relay.poll()
    assert unaware.closed == [CloseCode.SERVICE_RESTART]


async def test_numbers_that_went_back_end_the_sockets_of_the_room(process: Process) -> None:
    alice = await process.person()
    room, other = await process.room(alice), await process.room(alice)
    ahead, right = process.listens(alice, room, 99, other), process.listens(alice, other, 1, room)
    gone = process.listens(0, 2**40, 5)
    await process.relay.poll()
    assert ahead.closed == gone.closed == [CloseCode.SERVICE_RESTART]
    assert right.closed == []
    assert process.hub.last_sent_seq(room) is None and process.hub.last_sent_seq(other) == 1


async def test_a_new_epoch_ends_all_sockets_once(process: Process) -> None:
    alice = await process.person()
    room = await process.room(alice)
    live, silent = process.listens(alice, room, 1), process.connects(alice, room)[1]
    process.tokens.epoch = "another"
    await process.relay.poll()
    assert live.closed and silent.closed
    assert process.tokens.epoch == await process.db.fetch_value("epoch/get", str)
    await process.relay.poll()
    assert process.hub.positions() == ([], [])
    assert len(silent.closed) == 1


async def test_a_fault_in_our_sql_is_not_told_as_a_database_that_is_away(
    process: Process, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    class NoSuchColumn(psycopg2.Error):
        pgcode = "42703"

    async def failing(*_: object, **__: object) -> None:
        raise StatementFailed(NoSuchColumn())

    monkeypatch.setattr(module, "POLL_INTERVAL_S", 0.01)
    monkeypatch.setattr(process.db, "fetch_value", failing)
    async with sweeping(process):
        await eventually(lambda: "a poll failed" in caplog.text)
    assert "does not answer" not in caplog.text


async def test_a_sweep_that_fails_in_an_unknown_way_comes_again(
    process: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "POLL_INTERVAL_S", 0.001)
    tried = 0

    async def broken(self: Relay) -> None:
        nonlocal tried
        tried += 1
        raise ValueError("unheard of")

    monkeypatch.setattr(Relay, "poll", broken)
    async with sweeping(process):
        await eventually(lambda: tried > 3)
