"""The one writer of the log: gathers what is to be written, batch by batch, and answers each author.

While one batch commits, the next one gathers: a lone message waits for nobody, a storm becomes few transactions.

    append, change ─ a queue for each room ─ take a fair share of each ─ PostgreSQL ─ answers, one ring
                                                      ↑ repeat ─────────────┘

An entry is answered once, by its deadline. Not yet sent to PostgreSQL by then: withdrawn, `Unavailable`, certainly
not stored. Sent and not answered: `OutcomeUnknown`, and the journal goes on repeating it until it knows; the clientId
makes that harmless. What PostgreSQL refuses splits the batch by room, then in halves, until the bad row stands
alone. A room that somebody else keeps locked is written aside, so that it delays no other, and answers `busy`.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from secrets import token_urlsafe
from typing import Any, NamedTuple

from chat.aio import cancel_and_wait
from chat.broker.base import Broker
from chat.db.errors import StatementFailed, StatementTimeout, Unreachable
from chat.db.pool import Connection, Database
from chat.errors import BadRequest, ChatError, Conflict, Forbidden, NotFound, OutcomeUnknown, Unavailable
from chat.eventlog.event import Event, event_frame
from chat.protocol.frames import MESSAGE
from chat.protocol.notifications import Notification, encode_notifications

log = logging.getLogger(__name__)

BATCH_ROWS = 500
BATCH_BYTES = 256 * 1024  # less than a socket's outbox: one batch alone cuts nobody off
ASIDE = 3  # rooms written aside at once; one connection each
CONNECTIONS = 1 + ASIDE
PAUSE_S = (0.05, 0.5)  # before a repeat; grows from the first to the second
TICKS = 20  # how often in a time limit the deadlines are looked at

APPEND = "events/append"


class Answer(NamedTuple):
    """What became of a write. No event: there was nothing to do (joined twice, left twice)."""

    event: Event | None
    duplicate: bool


class Entry:
    """One write on its way. `params` are those of the file `sql`, except for appends, which are sent together."""

    __slots__ = ("answer", "deadline", "params", "room_id", "sent", "sql", "uncertain")

    def __init__(self, sql: str, room_id: int, params: dict[str, Any], deadline: float) -> None:
        self.sql, self.room_id, self.params, self.deadline = sql, room_id, params, deadline
        self.answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self.sent = False  # it is with PostgreSQL at the moment
        self.uncertain = False  # it was sent before, and no answer came

    @property
    def over(self) -> bool:
        """Whether nothing more has to be done: answered, or withdrawn before it was ever sent."""
        return self.answer.done() and not self.uncertain


class Journal:
    """`timeout_s`: when an author has his answer at the latest. `rows`: how many writes may wait."""

    def __init__(self, db: Database, broker: Broker, *, timeout_s: float, rows: int) -> None:
        self._db, self._broker = db, broker
        self._timeout_s, self._rows = timeout_s, rows
        self._queues: dict[int, deque[Entry]] = {}  # by room, in the order of their turns
        self._waiting = 0
        self._in_hand: set[Entry] = set()  # taken from a queue, not yet settled
        self._suspect: set[int] = set()  # rooms that were found locked: written aside until it goes well
        self._aside: dict[int, asyncio.Task[None]] = {}
        self._aside_free = asyncio.Semaphore(ASIDE)
        self._work = asyncio.Event()
        self._settled = asyncio.Event()
        self._loop_task: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._closing = False

    def open(self) -> None:
        """Starts the loop."""
        self._loop_task = asyncio.create_task(self._run())

    async def close(self) -> None:
        """Takes nothing more, settles what it has (within its deadlines), and ends."""
        self._closing = True
        await self.drained()
        await cancel_and_wait(task for task in (self._loop_task, *self._aside.values()) if task is not None)
        if self._timer is not None:
            self._timer.cancel()

    async def drained(self) -> None:
        """Returns when every entry has its answer: after the time limit at the latest."""
        while self._waiting or any(not entry.answer.done() for entry in self._in_hand):
            self._settled.clear()
            await self._settled.wait()

    def append(self, room_id: int, user_id: int, client_id: str, body: str) -> asyncio.Future[Answer]:
        """Queues a message (cleaned text). Raises `Unavailable` when too many wait.

        The future ends with the answer, or with `NotFound`, `Forbidden`, `Conflict`, `BadRequest`,
        `Unavailable` or `OutcomeUnknown`.
        """
        return self._enter(APPEND, room_id, {"user_id": user_id, "client_id": client_id, "body": body})

    def change(self, sql: str, **params: Any) -> asyncio.Future[Answer]:
        """Queues a unit of work of its own: a file that returns the verdict row of sql/events/append.sql.

        `room_id` in `params` says in which room's queue; without one, the room does not exist yet. The file also gets
        a new `client_id`, by which it knows its own repeats.
        """
        return self._enter(sql, params.get("room_id", 0), {"client_id": token_urlsafe(12), **params})

    def _enter(self, sql: str, room_id: int, params: dict[str, Any]) -> asyncio.Future[Answer]:
        if self._closing:
            raise Unavailable("the server is stopping; try again in a moment")
        if self._waiting >= self._rows:
            raise Unavailable("too many messages are waiting; try again in a moment", code="busy")
        loop = asyncio.get_running_loop()
        entry = Entry(sql, room_id, params, loop.time() + self._timeout_s)
        self._queues.setdefault(room_id, deque()).append(entry)
        self._waiting += 1
        self._work.set()
        if self._timer is None:
            self._timer = loop.call_later(self._timeout_s / TICKS, self._expire)
        return entry.answer

    # --- the loop -------------------------------------------------------------------------------------

    async def _run(self) -> None:
        while True:
            await self._work.wait()
            self._start_asides()
            batch = self._take([room_id for room_id in self._queues if self._is_free(room_id)])
            if batch:
                await self._settle(batch)
            else:
                self._work.clear()

    def _is_free(self, room_id: int) -> bool:
        return room_id not in self._suspect and room_id not in self._aside

    def _start_asides(self) -> None:
        for room_id in list(self._suspect & self._queues.keys() - self._aside.keys()):
            if len(self._aside) < ASIDE and (batch := self._take([room_id])):
                self._write_aside(room_id, batch)

    def _take(self, room_ids: list[int]) -> list[Entry]:
        """A fair share of each room's queue: appends together, or one change alone."""
        share = max(1, BATCH_ROWS // max(1, len(room_ids)))
        batch: list[Entry] = []
        size = 0
        for room_id in room_ids:
            if len(batch) >= BATCH_ROWS or size >= BATCH_BYTES:
                break
            queue = self._queues[room_id]
            before = len(batch)
            while queue and len(batch) - before < share and size < BATCH_BYTES:
                alone = queue[0].sql != APPEND
                if alone and batch:
                    break  # it stays where it is in the order of turns, and is first before long
                entry = queue.popleft()
                self._waiting -= 1
                if not entry.answer.done():  # else its asker has gone away
                    batch.append(entry)
                    size = BATCH_BYTES if alone else size + len(entry.params["body"].encode())
            if len(batch) > before or not queue:
                del self._queues[room_id]
                if queue:
                    self._queues[room_id] = queue  # its next turn comes after the others'
        self._in_hand.update(batch)
        self._settled.set()
        return batch

    def _write_aside(self, room_id: int, batch: list[Entry]) -> None:
        def ended(_: object) -> None:
            del self._aside[room_id]
            self._work.set()

        self._suspect.add(room_id)
        self._in_hand.update(batch)
        task = self._aside[room_id] = asyncio.create_task(self._settle(batch, aside=True))
        task.add_done_callback(ended)

    async def _settle(self, batch: list[Entry], *, aside: bool = False) -> None:
        try:
            if aside:
                async with self._aside_free:
                    await self._write(batch, aside)
            else:
                await self._write(batch, aside)
        except Exception:
            log.exception("a batch of %d could not be written", len(batch))
            for entry in batch:
                entry.uncertain = True
                _give_up(entry, ChatError("something went wrong"))
        finally:
            self._in_hand.difference_update([entry for entry in batch if entry.over])  # the others went aside
            self._settled.set()

    async def _write(self, batch: list[Entry], aside: bool) -> None:
        """Tries until each entry of the batch has its answer."""
        pause = PAUSE_S[0]
        while batch := [entry for entry in batch if not entry.over]:
            try:
                async with self._db.connection() as connection:
                    # Not before: what was withdrawn while we waited for the connection must not be sent.
                    batch = [entry for entry in batch if not entry.over]
                    rows = await _send(connection, batch) if batch else []
            except (Unreachable, StatementTimeout):
                pass
            except StatementFailed as error:
                if not error.is_transient:
                    return await self._split(batch, aside, error)
                log.warning("PostgreSQL refuses to write: %s", error.reason)
            else:
                self._suspect.difference_update({entry.room_id for entry in batch} if aside else ())
                return self._answer(batch, rows)
            await asyncio.sleep(pause)
            pause = min(pause * 2, PAUSE_S[1])

    async def _split(self, batch: list[Entry], aside: bool, error: StatementFailed) -> None:
        """Finds out whom it is about: room by room, and that aside; then half by half, down to one entry."""
        rooms: dict[int, list[Entry]] = {}
        for entry in batch:
            rooms.setdefault(entry.room_id, []).append(entry)
        if len(rooms) > 1:
            for room_id, entries in rooms.items():
                self._write_aside(room_id, entries)
        elif error.is_lock_timeout:
            log.warning("room %d is locked by somebody else", batch[0].room_id)
            self._suspect.update(rooms)
            for entry in batch:
                _give_up(entry, Unavailable("this room is busy; try again in a moment", code="busy"))
        elif len(batch) > 1:
            middle = len(batch) // 2
            await self._write(batch[:middle], aside)
            await self._write(batch[middle:], aside)
        else:
            log.warning("PostgreSQL does not take a row: %s", error.reason)
            told = (
                BadRequest("the database does not take this") if error.is_data_error else ChatError("it was not stored")
            )
            _give_up(batch[0], told)

    # --- answers --------------------------------------------------------------------------------------

    def _answer(self, batch: list[Entry], rows: list[Any]) -> None:
        rings: list[Notification] = []
        for row in rows:
            entry = batch[row.n - 1]
            event = None if row.seq is None else Event._make(row[2:])
            if event is not None and (row.verdict == "new" or entry.uncertain):
                rings.append((event.room_id, event.seq, event.kind, event.user_id, event_frame(event)))
            if event is None or event.kind == MESSAGE or entry.sql != APPEND:  # else it is the join before it
                self._answer_one(entry, row.verdict, event)
        if rings:
            self._broker.publish(encode_notifications(rings))

    def _answer_one(self, entry: Entry, verdict: str, event: Event | None) -> None:
        entry.uncertain = False
        if refusal := _REFUSALS.get(verdict):
            _fail(entry, refusal())
        elif not entry.answer.done():
            entry.answer.set_result(Answer(event, verdict != "new"))

    def _expire(self) -> None:
        """Answers every entry whose deadline has passed; called as long as there are any."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        for room_id, queue in list(self._queues.items()):
            while queue and queue[0].deadline <= now:
                _fail(queue.popleft(), Unavailable("the database is busy or gone; this was not stored"))
                self._waiting -= 1
            if not queue:
                del self._queues[room_id]
        for entry in self._in_hand:
            if entry.deadline <= now:
                if entry.sent or entry.uncertain:
                    _fail(entry, OutcomeUnknown("the database did not answer; repeat it with the same clientId"))
                    entry.uncertain = True  # so it is repeated until it is known
                else:
                    _fail(entry, Unavailable("the database cannot be reached; this was not stored"))
        self._settled.set()
        self._timer = None
        if self._waiting or self._in_hand:
            self._timer = loop.call_later(self._timeout_s / TICKS, self._expire)


async def _send(connection: Connection, batch: list[Entry]) -> list[Any]:
    """Try once and return the rows. Raises `StatementFailed` or `StatementTimeout`. Marks each entry while it is with
    PostgreSQL."""
    sql, params = batch[0].sql, batch[0].params
    if sql == APPEND:
        params = {
            "room_ids": [entry.room_id for entry in batch],
            "user_ids": [entry.params["user_id"] for entry in batch],
            "client_ids": [entry.params["client_id"] for entry in batch],
            "bodies": [entry.params["body"] for entry in batch],
        }
    for entry in batch:
        entry.sent = True
    try:
        return await connection.fetch(sql, params)
    except StatementTimeout:
        for entry in batch:
            entry.uncertain = True
        raise
    finally:
        for entry in batch:
            entry.sent = False


def _give_up(entry: Entry, error: ChatError) -> None:
    """Answers with the error, or with `OutcomeUnknown` if an earlier try may have done it; there will be no other."""
    if entry.uncertain:
        error = OutcomeUnknown(
            "the database did not answer, then something went wrong; repeat it with the same clientId"
        )
    entry.uncertain = False
    _fail(entry, error)


def _fail(entry: Entry, error: ChatError) -> None:
    if not entry.answer.done():
        entry.answer.set_exception(error)
        entry.answer.exception()  # whoever asked may be gone: then nobody looks at it, and that is no fault


_REFUSALS: dict[str, Callable[[], ChatError]] = {
    "not_found": lambda: NotFound("there is no such room"),
    "archived": lambda: Forbidden("this room is archived: nobody writes there any more", code="archived"),
    "reused": lambda: Conflict("this clientId belongs to another message", code="client_id_reused"),
    "taken": lambda: Conflict("name is taken by another room", code="name_taken"),
}
