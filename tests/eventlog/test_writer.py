"""chat/eventlog/writer.py: batches, answers, and what each of them may say when PostgreSQL goes wrong."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import psycopg2
import pytest

from chat.broker.memory import MemoryBroker
from chat.db import pool as db_module
from chat.db.errors import StatementFailed, StatementTimeout, Unreachable
from chat.db.pool import Database
from chat.domain.accounts import User
from chat.errors import BadRequest, ChatError, Conflict, NotFound, OutcomeUnknown, Unavailable
from chat.eventlog import writer as module
from chat.eventlog.event import EventKind
from chat.eventlog.reader import EventReader
from chat.eventlog.write_queue import WriteResult
from chat.eventlog.writer import EventWriter
from chat.protocol.notifications import decode_notifications
from tests.support.names import unique
from tests.support.proxy import Proxy
from tests.support.waiting import eventually


class Desk:
    """A journal on its own: whoever uses it, the rooms, and what was rung."""

    def __init__(self, db: Database, journal: EventWriter, broker: MemoryBroker) -> None:
        self.db, self.journal = db, journal
        self.batches: list[list[tuple[int, int]]] = []  # what was rung: room and seq
        self.user = 0
        broker.subscribe(self._hear)

    def _hear(self, body: bytes) -> None:
        self.batches.append([(room, seq or 0) for room, seq, *_ in decode_notifications(body)])

    async def room(self) -> int:
        """A new room with one event in it."""
        answer = await self.journal.run(
            "rooms/create",
            name=(name := unique("room")),
            name_key=name,
            topic="",
            user_id=self.user,
            request_id=unique("client"),
        )
        assert answer.event is not None
        return answer.event.room_id

    def says(self, room: int, text: str = "hi", request_id: str = "") -> asyncio.Future[WriteResult]:
        return self.journal.append(room, self.user, request_id or unique("client"), text)

    async def log(self, room: int) -> list[str]:
        _, events = await EventReader(self.db).events(None, room, after=0, limit=10_000)
        assert [event.seq for event in events] == list(range(1, len(events) + 1)), "the numbers are not dense"
        return [event.body or "" for event in events if event.kind == EventKind.MESSAGE]


Open = Callable[..., Awaitable[Desk]]


@pytest.fixture
async def opens(database_url: str) -> AsyncIterator[Open]:
    """Opens journals, by default on a good connection to PostgreSQL."""
    async with contextlib.AsyncExitStack() as stack:

        async def desk(url: str = "", *, timeout_s: float = 5.0, rows: int = 10_000) -> Desk:
            reading = Database(database_url, size=1, name="test")
            writing = Database(url or database_url, size=module.CONNECTIONS, name="test")
            for db in (reading, writing):
                await db.open()
                stack.push_async_callback(db.close)
            broker = MemoryBroker()
            await broker.open()
            journal = EventWriter(writing, broker, timeout_s=timeout_s, queue_limit=rows)
            journal.open()
            stack.push_async_callback(journal.close)
            made = Desk(reading, journal, broker)
            name = unique("writer")
            user = await reading.fetch_one(
                "users/create", User, username=name, email=f"{name}@x.org", password_hash="x"
            )
            made.user = user.id  # type: ignore[union-attr]
            return made

        yield desk


@pytest.fixture
async def desk(opens: Open) -> Desk:
    return await opens()


@contextlib.asynccontextmanager
async def locked(database_url: str, room: int) -> AsyncIterator[None]:
    """Somebody else keeps a room locked."""
    other = await asyncio.to_thread(psycopg2.connect, database_url)
    try:
        with other.cursor() as cursor:
            cursor.execute("SELECT 1 FROM rooms WHERE id = %s FOR UPDATE", [room])
        yield
    finally:
        other.close()


async def outcomes(answers: list[asyncio.Future[WriteResult]]) -> list[str]:
    """The seq of each answer, or the code of its error, as text."""
    done = await asyncio.gather(*answers, return_exceptions=True)
    return [
        each.code if isinstance(each, ChatError) else str(each.event.seq)  # type: ignore[union-attr]
        for each in done
    ]


# --- going well ---------------------------------------------------------------------------------------


async def test_a_write_is_answered_with_its_event_and_rung(desk: Desk) -> None:
    room = await desk.room()
    answer = await desk.says(room, "hello")
    assert answer.event is not None and not answer.duplicate
    assert (answer.event.room_id, answer.event.seq, answer.event.message_no) == (room, 2, 1)
    await asyncio.sleep(0)
    assert desk.batches == [[(room, 1)], [(room, 2)]]


async def test_what_waits_is_written_together_in_the_order_of_asking(desk: Desk) -> None:
    rooms = [await desk.room() for _ in range(3)]
    await asyncio.sleep(0)
    desk.batches.clear()
    answers = [desk.says(room, str(number)) for number in range(100) for room in rooms]
    await asyncio.gather(*answers)
    await asyncio.sleep(0)
    assert len(desk.batches) == 1
    for room in rooms:
        assert await desk.log(room) == [str(number) for number in range(100)]


async def test_the_same_client_id_is_the_same_event(desk: Desk) -> None:
    room = await desk.room()
    together = [desk.says(room, "once", "client-1234") for _ in range(3)]
    together.append(desk.says(room, "twice", "client-1234"))
    assert await outcomes(together) == ["2", "2", "2", "request_id_reused"]
    later = await desk.says(room, "once", "client-1234")
    assert later.duplicate and later.event is not None and later.event.seq == 2
    assert desk.batches == [[(room, 1)], [(room, 2)]]


async def test_changes_keep_their_turn_among_the_messages(desk: Desk) -> None:
    room = await desk.room()
    answers: list[asyncio.Future[WriteResult]] = []
    for _ in range(5):
        answers.append(desk.says(room))
        answers.append(desk.journal.run("members/leave", room_id=room, user_id=desk.user))
        answers.append(desk.journal.run("members/join", room_id=room, user_id=desk.user))
    assert await outcomes(answers) == [str(seq) for seq in range(2, 17)]


async def test_a_busy_room_does_not_make_a_quiet_one_wait(desk: Desk) -> None:
    busy, quiet = await desk.room(), await desk.room()
    answers = [desk.says(busy) for _ in range(3 * module.BATCH_ROWS)]
    await desk.says(quiet)
    assert sum(answer.done() for answer in answers) <= module.BATCH_ROWS
    await asyncio.gather(*answers)


async def test_no_batch_is_larger_than_its_bytes(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BATCH_BYTES", 1000)
    room = await desk.room()
    await asyncio.gather(*(desk.says(room, "é" * 250) for _ in range(20)))
    await asyncio.sleep(0)
    assert [len(batch) for batch in desk.batches] == [1] + [2] * 10


# --- refusals -----------------------------------------------------------------------------------------


async def test_a_room_that_is_not_there(desk: Desk) -> None:
    with pytest.raises(NotFound):
        await desk.says(2**40)


async def test_a_name_that_is_taken(desk: Desk) -> None:
    name = unique("name")
    ids = [unique("client"), unique("client")]
    first, second = (
        desk.journal.run("rooms/create", name=name, name_key=name, topic="", user_id=desk.user, request_id=each)
        for each in ids
    )
    await first
    with pytest.raises(Conflict):
        await second


async def test_too_many_waiting_writes_are_refused_at_the_door(opens: Open) -> None:
    desk = await opens(rows=3)
    room = await desk.room()
    answers = [desk.says(room) for _ in range(3)]
    with pytest.raises(Unavailable) as caught:
        desk.says(room)
    assert caught.value.code == "busy"
    assert await outcomes(answers) == ["2", "3", "4"]


async def test_a_bad_row_stands_alone(desk: Desk) -> None:
    rooms = [await desk.room() for _ in range(3)]
    answers = [desk.says(room) for room in rooms for _ in range(10)]
    nobody = desk.journal.append(rooms[1], 2**40, unique("client"), "a user that does not exist")
    answers += [desk.says(room) for room in rooms for _ in range(10)]
    with pytest.raises(BadRequest):
        await nobody
    await asyncio.gather(*answers)
    for room in rooms:
        assert len(await desk.log(room)) == 20


async def test_an_asker_who_goes_away_before_his_write_is_sent_leaves_nothing(desk: Desk) -> None:
    room = await desk.room()
    gone = desk.says(room, "never")
    gone.cancel()
    await desk.says(room, "stays")
    assert await desk.log(room) == ["stays"]


async def test_an_asker_who_goes_away_later_does_no_harm(desk: Desk) -> None:
    room = await desk.room()
    gone = desk.says(room, "perhaps")
    while not desk.journal.in_flight:
        await asyncio.sleep(0)
    gone.cancel()
    await desk.says(room, "stays")
    assert await desk.log(room) == ["perhaps", "stays"]


# --- a room that is locked ----------------------------------------------------------------------------


@pytest.mark.slow
async def test_a_locked_room_is_busy_and_harms_no_other(desk: Desk, database_url: str) -> None:
    stuck, *others = [await desk.room() for _ in range(5)]
    async with locked(database_url, stuck):
        first = [desk.says(room, "first") for room in (stuck, *others)]
        assert await outcomes(first) == ["busy", "2", "2", "2", "2"]
        waiting = desk.says(stuck, "second")
        async with asyncio.timeout(db_module.LOCK_TIMEOUT_S / 2):  # from now on, nobody waits for it
            for _ in range(3):
                await asyncio.gather(*(desk.says(room) for room in others))
        assert not waiting.done()
        with pytest.raises(Unavailable):
            await waiting
    assert (await desk.says(stuck, "third")).event
    assert await desk.log(stuck) == ["third"]
    await eventually(lambda: not desk.journal.contended_rooms and not desk.journal.unfinished)


@pytest.mark.slow
async def test_the_order_is_kept_when_a_batch_is_written_room_by_room(desk: Desk, database_url: str) -> None:
    stuck, other = await desk.room(), await desk.room()
    async with locked(database_url, stuck):
        answers = [desk.says(room, str(number)) for number in range(20) for room in (stuck, other)]
        await asyncio.sleep(0)
        answers += [desk.says(other, str(number)) for number in range(20, 40)]
        await asyncio.gather(*answers, return_exceptions=True)
    assert await desk.log(other) == [str(number) for number in range(40)]


@pytest.mark.slow
async def test_more_locked_rooms_than_connections_are_all_answered_in_time(opens: Open, database_url: str) -> None:
    desk = await opens(timeout_s=1.0)
    rooms = [await desk.room() for _ in range(8)]
    free = await desk.room()
    async with contextlib.AsyncExitStack() as stack:
        for room in rooms:
            await stack.enter_async_context(locked(database_url, room))
        answers = [desk.says(room) for room in rooms]
        async with asyncio.timeout(2):
            assert set(await outcomes(answers)) <= {"busy", "unavailable", "unknown"}
            assert await outcomes([desk.says(free)]) == ["2"]
    await eventually(lambda: not desk.journal.unfinished)


@pytest.mark.slow
async def test_closing_answers_those_whose_room_is_locked(opens: Open, database_url: str) -> None:
    desk = await opens(timeout_s=1.0)
    stuck, other = await desk.room(), await desk.room()
    async with locked(database_url, stuck):
        answers = [desk.says(room) for room in (stuck, other) for _ in range(3)]
        await asyncio.sleep(0)
        async with asyncio.timeout(2):
            await desk.journal.close()
    assert all(answer.done() for answer in answers)
    assert (await outcomes(answers))[3:] == ["2", "3", "4"]


# --- PostgreSQL goes wrong ----------------------------------------------------------------------------


async def test_what_was_withdrawn_while_it_waited_for_a_connection_is_never_sent(opens: Open) -> None:
    desk = await opens(timeout_s=0.2)
    room = await desk.room()
    writing: Database = desk.journal._db
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(module.CONNECTIONS):
            await stack.enter_async_context(writing.connection())
        withdrawn = desk.says(room, "withdrawn")
        assert await outcomes([withdrawn]) == ["unavailable"]
    await desk.says(room, "stored")
    assert await desk.log(room) == ["stored"]


async def test_without_postgresql_it_is_certainly_not_stored(opens: Open, database_url: str, proxy: Proxy) -> None:
    desk = await opens(proxy.instead_of(database_url), timeout_s=0.3)
    room = await desk.room()
    proxy.refusing = True
    proxy.cut()
    await eventually(lambda: all(raw.closed for raw in desk.journal._db._free))
    assert await outcomes([desk.says(room, "not stored") for _ in range(5)]) == ["unavailable"] * 5
    proxy.refusing = False
    while (await outcomes([desk.says(room, "stored")])) == ["unavailable"]:
        pass
    assert await desk.log(room) == ["stored"]


async def test_without_an_answer_nobody_knows_until_it_is_repeated(
    opens: Open, database_url: str, proxy: Proxy
) -> None:
    desk = await opens(proxy.instead_of(database_url), timeout_s=0.3)
    room = await desk.room()
    proxy.hold()
    lost = desk.says(room, "was it stored?", "client-1234")
    queued = desk.says(room, "never sent")
    while not desk.journal.in_flight:
        await asyncio.sleep(0.01)
    late = desk.says(room, "queued behind it")
    answers = await outcomes([lost, queued, late])
    assert answers[0] == "unknown" and answers[2] == "unavailable"
    proxy.release()
    again = await desk.says(room, "was it stored?", "client-1234")
    assert again.duplicate and again.event is not None and again.event.seq == 2
    assert "queued behind it" not in await desk.log(room)


async def test_a_connection_that_breaks_under_way_is_repeated_and_answered_once(
    opens: Open, database_url: str, proxy: Proxy
) -> None:
    desk = await opens(proxy.instead_of(database_url))
    room = await desk.room()
    for _ in range(5):
        answers = [desk.says(room, unique("text")) for _ in range(10)]
        while not desk.journal.in_flight:
            await asyncio.sleep(0)
        proxy.cut()
        await asyncio.gather(*answers)
    assert len(await desk.log(room)) == 50
    await eventually(lambda: not desk.journal.unfinished)


async def test_a_repeat_after_an_answer_that_never_came_is_rung(opens: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    desk = await opens()
    room = await desk.room()
    send, lose = module._send, True

    async def committed_but_lost(connection: Any, batch: list[Any]) -> Any:
        nonlocal lose
        rows = await send(connection, batch)
        if lose:
            lose = False
            for entry in batch:
                entry.uncertain = True
            raise StatementTimeout
        return rows

    monkeypatch.setattr(module, "_send", committed_but_lost)
    answer = await desk.says(room)
    assert answer.duplicate and answer.event is not None
    await asyncio.sleep(0)
    assert desk.batches[-1] == [(room, 2)]


async def test_closing_settles_what_it_has_and_takes_nothing_more(desk: Desk) -> None:
    room = await desk.room()
    answers = [desk.says(room) for _ in range(1000)]
    await desk.journal.close()
    assert all(answer.done() and not answer.exception() for answer in answers)
    with pytest.raises(Unavailable, match="stopping"):
        desk.says(room)
    assert len(await desk.log(room)) == 1000


async def test_closing_without_postgresql_ends_within_the_time_limit(
    opens: Open, database_url: str, proxy: Proxy
) -> None:
    desk = await opens(proxy.instead_of(database_url), timeout_s=0.3)
    room = await desk.room()
    proxy.hold()
    answers = [desk.says(room) for _ in range(10)]
    async with asyncio.timeout(2):
        await desk.journal.close()
    assert set(await outcomes(answers)) <= {"unknown", "unavailable"}


def test_what_was_perhaps_done_is_never_told_as_certainly_not_done() -> None:
    """`except Unavailable` means: certainly not done."""
    assert issubclass(Unreachable, Unavailable) and issubclass(StatementTimeout, OutcomeUnknown)
    for perhaps in (OutcomeUnknown, StatementTimeout):
        assert not issubclass(perhaps, Unavailable)
    for certainly_not in (Unavailable, Unreachable, StatementFailed):
        assert not issubclass(certainly_not, OutcomeUnknown)
    assert not issubclass(StatementFailed, Unavailable)  # it may be a fault in our SQL
