"""chat/realtime/relay.py: notifications, gap fills and the poll, each without the others."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import psycopg2
import pytest

from chat.aio import cancel_and_wait
from chat.auth.tokens import Tokens
from chat.db.errors import StatementFailed, Unreachable
from chat.db.pool import Database
from chat.domain.accounts import User
from chat.eventlog.event import event_notification
from chat.eventlog.notifier import Notifier
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
from tests.support.recording_broker import RecordingBroker
from tests.support.sample_events import line
from tests.support.waiting import eventually

DEFAULT_ROOMS = (1, 2)  # that an account has joined


class Process:
    """What a server has between the broker and its subscribers.

    writer: that of another process, which publishes to `elsewhere`
    """

    def __init__(self, db: Database, writer: EventWriter, elsewhere: RecordingBroker) -> None:
        self.db, self.writer, self.elsewhere = db, writer, elsewhere
        self.broker = RecordingBroker()
        self.hub = Hub()
        tokens: Any = SimpleNamespace(epoch="")
        self.tokens: Tokens = tokens
        self.relay = Relay(db, Notifier(self.broker), self.hub, self.tokens)

    async def user(self) -> int:
        name = unique("user")
        row = await self.db.fetch_one("users/create", User, username=name, email=f"{name}@x.org", password_hash="x")
        assert row is not None
        return row.id

    async def room(self, user: int) -> int:
        result = await self.writer.run(
            "rooms/create",
            name=(name := unique("room")),
            name_key=name,
            topic="",
            user_id=user,
            request_id=unique("request"),
        )
        assert result.event is not None
        return result.event.room_id

    async def says(self, room: int, user: int, times: int = 1) -> None:
        await asyncio.gather(*(self.writer.append(room, user, unique("request"), "hi") for _ in range(times)))

    def connects(self, user: int, *known: int) -> tuple[Subscriber, FakeTransport]:
        pipe = FakeTransport()
        subscriber = Subscriber(user, pipe, pipe.closed.append, speaks_v2=True, buffer_limit_bytes=1 << 20)
        self.hub.connect(subscriber)
        self.hub.set_membership(subscriber, dict.fromkeys((*DEFAULT_ROOMS, *known), 0))
        return subscriber, pipe

    def listens(self, user: int, room: int, seq: int, *known: int) -> FakeTransport:
        subscriber, pipe = self.connects(user, room, *known)
        self.hub.join(subscriber, room, seq)
        return pipe


@pytest.fixture
async def process(database_url: str) -> AsyncIterator[Process]:
    db = Database(database_url, size=2, name="relay")
    writer_db = Database(database_url, size=CONNECTIONS, name="writer")
    await db.open()
    await writer_db.open()
    broker = RecordingBroker()
    writer = EventWriter(writer_db, Notifier(broker), timeout_s=5, queue_limit=10_000)
    writer.open()
    made = Process(db, writer, broker)
    made.tokens.epoch = await db.fetch_value("epoch/get", str) or ""
    yield made
    await writer.close()
    await writer_db.close()
    await db.close()


@contextlib.asynccontextmanager
async def polling(process: Process) -> AsyncIterator[None]:
    task = asyncio.create_task(process.relay.run())
    try:
        yield
    finally:
        await cancel_and_wait([task])


async def test_a_notification_brings_events_to_the_subscribers(process: Process) -> None:
    pipe = process.listens(1, 7, 0)
    process.broker.receive(encode_notifications([event_notification(line(7, 1)), event_notification(line(7, 2))]))
    await asyncio.sleep(0)
    assert pipe.seqs(7) == [1, 2]


async def test_a_gap_is_read_from_the_log(process: Process, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub_module, "REORDER_WAIT_S", 0.005)
    monkeypatch.setattr(module, "GAP_FILL_ROWS", 3)
    alice = await process.user()
    room = await process.room(alice)
    pipe = process.listens(alice, room, 1)
    await process.says(room, alice, 10)
    await process.says(room, alice)
    process.broker.receive(process.elsewhere.published[-1])
    await eventually(lambda: pipe.seqs(room) == list(range(2, 13)))


async def test_the_poll_finds_every_room_that_is_behind(process: Process, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "POLL_ROOMS", 2)
    alice = await process.user()
    rooms = [await process.room(alice) for _ in range(5)]
    pipes = [process.listens(alice, room, 1, *rooms) for room in rooms]
    for room in rooms:
        await process.says(room, alice)
    await process.relay.poll()
    for room, pipe in zip(rooms, pipes, strict=True):
        await eventually(lambda room, pipe: pipe.seqs(room) == [2], room, pipe)


async def test_calls_during_a_gap_fill_get_the_same_task(process: Process) -> None:
    alice = await process.user()
    room = await process.room(alice)
    process.listens(alice, room, 0)
    first = process.relay.fill_gap(room)
    assert process.relay.fill_gap(room) is first
    await first
    assert process.relay.fill_gap(room) is not first
    assert process.hub.last_sent_seq(room) == 1


async def test_a_gap_fill_without_postgresql_leaves_it_to_the_poll(process: Process) -> None:
    process.listens(1, 7, 0)
    await process.db.close()
    await process.relay.fill_gap(7)
    assert process.hub.last_sent_seq(7) == 0


async def test_the_poll_delivers_events_without_any_notification(
    process: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "POLL_INTERVAL_S", 0.01)
    alice = await process.user()
    room = await process.room(alice)
    pipe = process.listens(alice, room, 1)
    async with polling(process):
        for last, count in ((2, 1), (22, 20), (622, 600)):
            await process.says(room, alice, count)
            await eventually(lambda last: process.hub.last_sent_seq(room) == last, last)
    await asyncio.sleep(0)
    assert pipe.seqs(room) == list(range(2, 623))


async def test_the_poll_goes_on_when_postgresql_is_back(process: Process, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "POLL_INTERVAL_S", 0.01)
    alice = await process.user()
    room = await process.room(alice)
    pipe = process.listens(alice, room, 0)
    away = True
    real = process.db.fetch_all

    async def fetch_all(name: str, row: Any, **params: Any) -> Any:
        if away:
            raise Unreachable
        return await real(name, row, **params)

    monkeypatch.setattr(process.db, "fetch_all", fetch_all)
    async with polling(process):
        await eventually(lambda: process.relay.database_down)
        away = False
        await eventually(lambda: pipe.seqs(room) == [1])
        await eventually(lambda: not process.relay.database_down)


async def test_the_poll_finds_joins_on_other_processes(process: Process) -> None:
    alice, bob = await process.user(), await process.user()
    room = await process.room(alice)
    _, laptop = process.connects(bob)
    _, phone = process.connects(bob)
    await process.writer.run("members/join", room_id=room, user_id=bob)
    await process.says(room, alice, 2)
    await process.relay.poll()
    await asyncio.sleep(0)
    assert laptop.seqs(room) == phone.seqs(room) == [2, 3, 4]
    assert laptop.frames()[0]["action"] == "joined" and laptop.frames()[0]["room"]["id"] == room


async def test_the_poll_finds_a_join_in_a_room_that_is_further(process: Process) -> None:
    alice, bob = await process.user(), await process.user()
    room = await process.room(alice)
    _, unaware = process.connects(bob)
    await process.writer.run("members/join", room_id=room, user_id=bob)
    await process.says(room, alice)
    process.listens(alice, room, 3)  # after the other's join
    await process.relay.poll()
    assert unaware.closed == [CloseCode.SERVICE_RESTART]


async def test_a_room_whose_numbers_went_back_disconnects_its_subscribers(process: Process) -> None:
    alice = await process.user()
    room, other = await process.room(alice), await process.room(alice)
    ahead, right = process.listens(alice, room, 99, other), process.listens(alice, other, 1, room)
    gone = process.listens(0, 2**40, 5)
    await process.relay.poll()
    assert ahead.closed == gone.closed == [CloseCode.SERVICE_RESTART]
    assert right.closed == []
    assert process.hub.last_sent_seq(room) is None and process.hub.last_sent_seq(other) == 1


async def test_a_new_epoch_disconnects_all_once(process: Process) -> None:
    alice = await process.user()
    room = await process.room(alice)
    live, silent = process.listens(alice, room, 1), process.connects(alice, room)[1]
    process.tokens.epoch = "another"
    await process.relay.poll()
    assert live.closed and silent.closed
    assert process.tokens.epoch == await process.db.fetch_value("epoch/get", str)
    await process.relay.poll()
    assert process.hub.positions() == ([], [])
    assert len(silent.closed) == 1


async def test_a_fault_in_our_sql_is_not_reported_as_an_outage(
    process: Process, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    class NoSuchColumn(psycopg2.Error):
        pgcode = "42703"

    async def failing(*_: object, **__: object) -> None:
        raise StatementFailed(NoSuchColumn())

    monkeypatch.setattr(module, "POLL_INTERVAL_S", 0.01)
    monkeypatch.setattr(process.db, "fetch_value", failing)
    async with polling(process):
        await eventually(lambda: "a poll failed" in caplog.text)
    assert "does not answer" not in caplog.text


async def test_the_poll_goes_on_after_an_unexpected_error(process: Process, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "POLL_INTERVAL_S", 0.001)
    tried = 0

    async def broken(self: Relay) -> None:
        nonlocal tried
        tried += 1
        raise ValueError("unexpected")

    monkeypatch.setattr(Relay, "poll", broken)
    async with polling(process):
        await eventually(lambda: tried > 3)
