"""chat/eventlog/writer.py: batches, results, and the errors that each failure of PostgreSQL may cause."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import psycopg2
import pytest

from chat.db import pool as db_module
from chat.db.errors import StatementFailed, StatementTimeout, Unreachable
from chat.db.pool import Connection, Database
from chat.domain.accounts import User
from chat.errors import BadRequest, ChatError, Conflict, NotFound, OutcomeUnknown, Unavailable
from chat.eventlog import writer as module
from chat.eventlog.event import EventKind
from chat.eventlog.notifier import Notifier
from chat.eventlog.reader import EventReader
from chat.eventlog.write_queue import APPEND, WriteResult
from chat.eventlog.writer import EventWriter
from chat.protocol.notifications import decode_notifications
from tests.support.names import unique
from tests.support.proxy import Proxy
from tests.support.recording_broker import RecordingBroker
from tests.support.waiting import PATIENCE_S, eventually


class WriterHarness:
    """A writer on its own, with a user and rooms.

    db: connections of the test
    writer_db: the connections of the writer
    batches: room and seq of each event, notification by notification
    """

    def __init__(
        self, db: Database, writer_db: Database, writer: EventWriter, broker: RecordingBroker, user: int
    ) -> None:
        self.db, self.writer_db, self.writer, self.user = db, writer_db, writer, user
        self.broker = broker

    @property
    def batches(self) -> list[list[tuple[int, int]]]:
        return [[(room, seq or 0) for room, seq, *_ in decode_notifications(body)] for body in self.broker.published]

    async def room(self) -> int:
        """A new room with one event in it."""
        result = await self.writer.run(
            "rooms/create",
            name=(name := unique("room")),
            name_key=name,
            topic="",
            user_id=self.user,
            request_id=unique("request"),
        )
        assert result.event is not None
        return result.event.room_id

    def says(self, room: int, text: str = "hi", request_id: str = "") -> asyncio.Future[WriteResult]:
        return self.writer.append(room, self.user, request_id or unique("request"), text)

    async def log(self, room: int) -> list[str]:
        _, events = await EventReader(self.db).events(None, room, after=0, limit=10_000)
        assert [event.seq for event in events] == list(range(1, len(events) + 1)), "the numbers are not dense"
        return [event.body or "" for event in events if event.kind == EventKind.MESSAGE]


Open = Callable[..., Awaitable[WriterHarness]]


@pytest.fixture
async def opens(database_url: str) -> AsyncIterator[Open]:
    """Opens writers, by default on a good connection to PostgreSQL."""
    async with contextlib.AsyncExitStack() as stack:

        async def harness(url: str = "", *, timeout_s: float = 5.0, rows: int = 10_000) -> WriterHarness:
            db = Database(database_url, size=1, name="test")
            writer_db = Database(url or database_url, size=module.CONNECTIONS, name="test")
            for each in (db, writer_db):
                await each.open()
                stack.push_async_callback(each.close)
            broker = RecordingBroker()
            writer = EventWriter(writer_db, Notifier(broker), timeout_s=timeout_s, queue_limit=rows)
            writer.open()
            stack.push_async_callback(writer.close)
            name = unique("writer")
            user = await db.fetch_one("users/create", User, username=name, email=f"{name}@x.org", password_hash="x")
            assert user is not None
            return WriterHarness(db, writer_db, writer, broker, user.id)

        yield harness


@pytest.fixture
async def harness(opens: Open) -> WriterHarness:
    return await opens()


@contextlib.asynccontextmanager
async def locked(database_url: str, room: int) -> AsyncIterator[None]:
    """A room that another transaction keeps locked."""
    other = await asyncio.to_thread(psycopg2.connect, database_url)
    try:
        with other.cursor() as cursor:
            cursor.execute("SELECT 1 FROM rooms WHERE id = %s FOR UPDATE", [room])
        yield
    finally:
        other.close()


async def outcomes(results: list[asyncio.Future[WriteResult]]) -> list[str]:
    """The seq of each result, or the code of its error, as text."""
    return [_outcome(each) for each in await asyncio.gather(*results, return_exceptions=True)]


def _outcome(result: WriteResult | BaseException) -> str:
    if isinstance(result, ChatError):
        return result.code
    assert isinstance(result, WriteResult) and result.event is not None
    return str(result.event.seq)


# --- success -------------------------------------------------------------------------------------------


async def test_a_write_returns_its_event_and_publishes_it(harness: WriterHarness) -> None:
    room = await harness.room()
    answer = await harness.says(room, "hello")
    assert answer.event is not None and not answer.duplicate
    assert (answer.event.room_id, answer.event.seq, answer.event.message_no) == (room, 2, 1)
    await asyncio.sleep(0)
    assert harness.batches == [[(room, 1)], [(room, 2)]]


async def test_waiting_writes_are_one_batch_in_the_order_of_the_calls(harness: WriterHarness) -> None:
    rooms = [await harness.room() for _ in range(3)]
    await asyncio.sleep(0)
    harness.broker.published.clear()
    answers = [harness.says(room, str(number)) for number in range(100) for room in rooms]
    await asyncio.gather(*answers)
    await asyncio.sleep(0)
    assert len(harness.batches) == 1
    for room in rooms:
        assert await harness.log(room) == [str(number) for number in range(100)]


async def test_the_same_request_id_is_the_same_event(harness: WriterHarness) -> None:
    room = await harness.room()
    together = [harness.says(room, "once", "request-1234") for _ in range(3)]
    together.append(harness.says(room, "twice", "request-1234"))
    assert await outcomes(together) == ["2", "2", "2", "request_id_reused"]
    later = await harness.says(room, "once", "request-1234")
    assert later.duplicate and later.event is not None and later.event.seq == 2
    assert harness.batches == [[(room, 1)], [(room, 2)]]


async def test_changes_keep_their_place_among_the_messages(harness: WriterHarness) -> None:
    room = await harness.room()
    answers: list[asyncio.Future[WriteResult]] = []
    for _ in range(5):
        answers.append(harness.says(room))
        answers.append(harness.writer.run("members/leave", room_id=room, user_id=harness.user))
        answers.append(harness.writer.run("members/join", room_id=room, user_id=harness.user))
    assert await outcomes(answers) == [str(seq) for seq in range(2, 17)]


async def test_a_busy_room_does_not_make_a_quiet_one_wait(harness: WriterHarness) -> None:
    busy, quiet = await harness.room(), await harness.room()
    answers = [harness.says(busy) for _ in range(3 * module.BATCH_ROWS)]
    await harness.says(quiet)
    assert sum(answer.done() for answer in answers) <= module.BATCH_ROWS
    await asyncio.gather(*answers)


async def test_no_batch_is_larger_than_its_bytes(harness: WriterHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BATCH_BYTES", 1000)
    room = await harness.room()
    await asyncio.gather(*(harness.says(room, "é" * 250) for _ in range(20)))
    await asyncio.sleep(0)
    assert [len(batch) for batch in harness.batches] == [1] + [2] * 10


# --- refusals -----------------------------------------------------------------------------------------


async def test_a_write_to_an_unknown_room_is_not_found(harness: WriterHarness) -> None:
    with pytest.raises(NotFound):
        await harness.says(2**40)


async def test_a_second_room_of_the_same_name_is_a_conflict(harness: WriterHarness) -> None:
    name = unique("name")
    ids = [unique("request"), unique("request")]
    first, second = (
        harness.writer.run("rooms/create", name=name, name_key=name, topic="", user_id=harness.user, request_id=each)
        for each in ids
    )
    await first
    with pytest.raises(Conflict):
        await second


async def test_writes_beyond_the_queue_limit_are_refused_at_once(opens: Open) -> None:
    harness = await opens(rows=3)
    room = await harness.room()
    answers = [harness.says(room) for _ in range(3)]
    with pytest.raises(Unavailable) as caught:
        harness.says(room)
    assert caught.value.code == "busy"
    assert await outcomes(answers) == ["2", "3", "4"]


async def test_a_row_that_postgresql_rejects_fails_alone(harness: WriterHarness) -> None:
    rooms = [await harness.room() for _ in range(3)]
    answers = [harness.says(room) for room in rooms for _ in range(10)]
    rejected = harness.writer.append(rooms[1], 2**40, unique("request"), "a user that does not exist")
    answers += [harness.says(room) for room in rooms for _ in range(10)]
    with pytest.raises(BadRequest):
        await rejected
    await asyncio.gather(*answers)
    for room in rooms:
        assert len(await harness.log(room)) == 20


async def test_a_write_that_is_cancelled_before_it_is_sent_is_not_stored(harness: WriterHarness) -> None:
    room = await harness.room()
    gone = harness.says(room, "never")
    gone.cancel()
    await harness.says(room, "stays")
    assert await harness.log(room) == ["stays"]


async def test_a_write_that_is_cancelled_after_it_was_sent_is_stored_and_disturbs_no_other(
    harness: WriterHarness,
) -> None:
    room = await harness.room()
    gone = harness.says(room, "perhaps")
    while not harness.writer.in_flight:
        await asyncio.sleep(0)
    gone.cancel()
    await harness.says(room, "stays")
    assert await harness.log(room) == ["perhaps", "stays"]


# --- a room that is locked ----------------------------------------------------------------------------


@pytest.mark.slow
async def test_a_locked_room_is_busy_and_the_others_are_written(harness: WriterHarness, database_url: str) -> None:
    stuck, *others = [await harness.room() for _ in range(5)]
    async with locked(database_url, stuck):
        first = [harness.says(room, "first") for room in (stuck, *others)]
        assert await outcomes(first) == ["busy", "2", "2", "2", "2"]
        assert harness.writer.contended_rooms == {stuck}
        second = [harness.says(room, "second") for room in (stuck, *others)]
        assert await outcomes(second) == ["busy", "3", "3", "3", "3"]
    assert (await harness.says(stuck, "third")).event
    assert await harness.log(stuck) == ["third"]
    await eventually(lambda: not harness.writer.contended_rooms and not harness.writer.unfinished)


@pytest.mark.slow
@pytest.mark.timing
async def test_a_room_that_was_found_locked_delays_no_other(harness: WriterHarness, database_url: str) -> None:
    stuck, *others = [await harness.room() for _ in range(5)]
    async with locked(database_url, stuck):
        assert await outcomes([harness.says(stuck)]) == ["busy"]
        waiting = harness.says(stuck)
        async with asyncio.timeout(db_module.LOCK_TIMEOUT_S / 2):
            for _ in range(3):
                await asyncio.gather(*(harness.says(room) for room in others))
        assert not waiting.done()
        assert await outcomes([waiting]) == ["busy"]


@pytest.mark.slow
async def test_the_order_is_kept_when_a_batch_is_written_room_by_room(
    harness: WriterHarness, database_url: str
) -> None:
    stuck, other = await harness.room(), await harness.room()
    async with locked(database_url, stuck):
        answers = [harness.says(room, str(number)) for number in range(20) for room in (stuck, other)]
        await asyncio.sleep(0)
        answers += [harness.says(other, str(number)) for number in range(20, 40)]
        await asyncio.gather(*answers, return_exceptions=True)
    assert await harness.log(other) == [str(number) for number in range(40)]


@pytest.mark.slow
async def test_more_locked_rooms_than_connections_do_not_wait_for_one_another(opens: Open, database_url: str) -> None:
    harness = await opens(timeout_s=1.0)
    rooms = [await harness.room() for _ in range(8)]
    free = await harness.room()
    async with contextlib.AsyncExitStack() as stack:
        for room in rooms:
            await stack.enter_async_context(locked(database_url, room))
        answers = [harness.says(room) for room in rooms]
        codes = await outcomes(answers)
        assert set(codes) <= {"busy", "unavailable", "unknown"}
        by_deadline = len(rooms) - 2 * module.MAX_ISOLATED_ROOMS  # a third round would begin after it
        assert len(rooms) - codes.count("busy") >= by_deadline
        assert await outcomes([harness.says(free)]) == ["2"]
    await eventually(lambda: not harness.writer.unfinished)


@pytest.mark.slow
async def test_closing_answers_the_writes_to_a_locked_room(harness: WriterHarness, database_url: str) -> None:
    stuck, other = await harness.room(), await harness.room()
    async with locked(database_url, stuck):
        answers = [harness.says(room) for room in (stuck, other) for _ in range(3)]
        await asyncio.sleep(0)
        async with asyncio.timeout(PATIENCE_S):
            await harness.writer.close()
    assert all(answer.done() for answer in answers)
    assert (await outcomes(answers))[3:] == ["2", "3", "4"]


# --- PostgreSQL fails -----------------------------------------------------------------------------------


async def test_a_write_that_expires_while_it_waits_for_a_connection_is_never_sent(opens: Open) -> None:
    harness = await opens(timeout_s=0.2)
    room = await harness.room()
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(module.CONNECTIONS):
            await stack.enter_async_context(harness.writer_db.connection())
        withdrawn = harness.says(room, "withdrawn")
        assert await outcomes([withdrawn]) == ["unavailable"]
    await harness.says(room, "stored")
    assert await harness.log(room) == ["stored"]


async def test_without_postgresql_a_write_is_certainly_not_stored(opens: Open, database_url: str, proxy: Proxy) -> None:
    harness = await opens(proxy.instead_of(database_url), timeout_s=0.3)
    room = await harness.room()
    proxy.refusing = True
    proxy.cut()
    await eventually(lambda: all(connection.closed for connection in harness.writer_db.idle_connections))
    assert await outcomes([harness.says(room, "not stored") for _ in range(5)]) == ["unavailable"] * 5
    proxy.refusing = False
    request_id = unique("request")
    while await outcomes([harness.says(room, "stored", request_id)]) != ["2"]:
        pass
    assert await harness.log(room) == ["stored"]


async def test_without_an_answer_the_outcome_is_unknown_until_the_write_is_repeated(
    opens: Open, database_url: str, proxy: Proxy
) -> None:
    harness = await opens(proxy.instead_of(database_url), timeout_s=1.0)
    room = await harness.room()
    proxy.hold()
    lost = harness.says(room, "was it stored?", "request-1234")
    queued = harness.says(room, "never sent")
    await eventually(lambda: harness.writer.in_flight > 0)
    late = harness.says(room, "queued behind it")
    answers = await outcomes([lost, queued, late])
    assert answers[0] == "unknown" and answers[2] == "unavailable"
    proxy.release()
    again = await harness.says(room, "was it stored?", "request-1234")
    assert again.duplicate and again.event is not None and again.event.seq == 2
    assert "queued behind it" not in await harness.log(room)


async def test_a_write_whose_connection_breaks_is_repeated_and_answered_once(
    opens: Open, database_url: str, proxy: Proxy
) -> None:
    harness = await opens(proxy.instead_of(database_url))
    room = await harness.room()
    for _ in range(5):
        answers = [harness.says(room, unique("text")) for _ in range(10)]
        while not harness.writer.in_flight:
            await asyncio.sleep(0)
        proxy.cut()
        await asyncio.gather(*answers)
    assert len(await harness.log(room)) == 50
    await eventually(lambda: not harness.writer.unfinished)


async def test_a_repeated_write_whose_first_answer_was_lost_is_published(
    opens: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    harness = await opens()
    room = await harness.room()
    fetch, lost = Connection.fetch, 0

    async def lose_the_first_answer(self: Connection, name: str, row: Any, params: dict[str, Any]) -> Any:
        nonlocal lost
        rows = await fetch(self, name, row, params)
        if name == APPEND and not lost:
            lost += 1
            raise StatementTimeout
        return rows

    monkeypatch.setattr(Connection, "fetch", lose_the_first_answer)
    answer = await harness.says(room)
    assert answer.duplicate and answer.event is not None
    await asyncio.sleep(0)
    assert harness.batches[-1] == [(room, 2)]


async def test_closing_finishes_the_queue_and_accepts_nothing_more(harness: WriterHarness) -> None:
    room = await harness.room()
    answers = [harness.says(room) for _ in range(1000)]
    await harness.writer.close()
    assert all(answer.done() and not answer.exception() for answer in answers)
    with pytest.raises(Unavailable, match="stopping"):
        harness.says(room)
    assert len(await harness.log(room)) == 1000


async def test_closing_without_postgresql_ends_within_the_time_limit(
    opens: Open, database_url: str, proxy: Proxy
) -> None:
    harness = await opens(proxy.instead_of(database_url), timeout_s=0.3)
    room = await harness.room()
    proxy.hold()
    answers = [harness.says(room) for _ in range(10)]
    async with asyncio.timeout(PATIENCE_S):
        await harness.writer.close()
    assert set(await outcomes(answers)) <= {"unknown", "unavailable"}


def test_errors_for_perhaps_done_are_not_errors_for_certainly_not_done() -> None:
    """`except Unavailable` means: certainly not done."""
    assert issubclass(Unreachable, Unavailable) and issubclass(StatementTimeout, OutcomeUnknown)
    for perhaps in (OutcomeUnknown, StatementTimeout):
        assert not issubclass(perhaps, Unavailable)
    for certainly_not in (Unavailable, Unreachable, StatementFailed):
        assert not issubclass(certainly_not, OutcomeUnknown)
    assert not issubclass(StatementFailed, Unavailable)  # it may be a fault in our SQL
