"""The one writer of the log: collects what is to be written, batch by batch, and answers each author.

While one batch commits, the next one collects: a lone message waits for nothing, a storm becomes few transactions.

    append, run ─ a queue for each room ─ a fair share of each ─ PostgreSQL ─ results, one notification
                                                   ↑ repeat ──────────┘

A write is answered once, by its deadline. If it was not sent to PostgreSQL by then it is withdrawn: `Unavailable`,
certainly not stored. If it was sent and no answer came: `OutcomeUnknown`, and the writer repeats it until the outcome
is known; the requestId makes that harmless. If PostgreSQL rejects a batch, it is split by room, then bisected until the
offending row is isolated. Writes to a room that another transaction keeps locked go through a connection of
their own, so that they delay no other room; they fail with `busy`.
"""

import asyncio
import logging
from secrets import token_urlsafe
from typing import Any, NamedTuple

from chat.aio import cancel_and_wait
from chat.db.errors import StatementFailed, StatementTimeout, Unreachable
from chat.db.pool import Connection, Database
from chat.errors import BadRequest, ChatError, OutcomeUnknown, Unavailable
from chat.eventlog.event import Event, EventKind, event_notification
from chat.eventlog.notifier import Notifier
from chat.eventlog.refusals import LOCKED, REFUSALS, room_is_busy
from chat.eventlog.write_queue import APPEND, PendingWrite, WriteQueue, WriteResult

log = logging.getLogger(__name__)

BATCH_ROWS = 500
BATCH_BYTES = 256 * 1024  # less than a send buffer may hold: one batch alone disconnects nobody
MAX_ISOLATED_ROOMS = 3  # contended rooms that are written at the same time, one connection each
CONNECTIONS = 1 + MAX_ISOLATED_ROOMS
RETRY_BACKOFF_S = (0.05, 0.5)  # pauses between attempts grow from the first to the second
DEADLINE_CHECKS = 20  # in one time limit


class _ResultRow(NamedTuple):
    n: int  # the position of the write in the batch, from 1
    status: str
    event: Event | None


class EventWriter:
    """`timeout_s`: by when an author is answered. `queue_limit`: how many writes may wait."""

    def __init__(self, db: Database, notifier: Notifier, *, timeout_s: float, queue_limit: int) -> None:
        self._db, self._notifier, self._timeout_s = db, notifier, timeout_s
        self._queue = WriteQueue(queue_limit)
        self._in_hand: set[PendingWrite] = set()  # taken from the queue and not finished
        self._contended_rooms: set[int] = set()  # the last write hit a lock timeout: isolated until one succeeds
        self._isolated: dict[int, asyncio.Task[None]] = {}
        self._isolated_slots = asyncio.Semaphore(MAX_ISOLATED_ROOMS)
        self._work = asyncio.Event()
        self._progress = asyncio.Event()
        self._loop_task: asyncio.Task[None] | None = None
        self._deadline_timer: asyncio.TimerHandle | None = None
        self._closing = False

    @property
    def in_flight(self) -> int:
        """How many writes are with PostgreSQL at the moment."""
        return sum(write.sent for write in self._in_hand)

    @property
    def unfinished(self) -> int:
        """How many writes wait, are with PostgreSQL, or are repeated until their outcome is known."""
        return len(self._queue) + len(self._in_hand)

    @property
    def contended_rooms(self) -> frozenset[int]:
        """The rooms whose last write hit a lock timeout."""
        return frozenset(self._contended_rooms)

    def open(self) -> None:
        """Start the loop."""
        self._loop_task = asyncio.create_task(self._run())

    async def close(self) -> None:
        """Accept nothing more, answer what is there within its deadlines, and stop."""
        self._closing = True
        await self.wait_until_idle()
        await cancel_and_wait(task for task in (self._loop_task, *self._isolated.values()) if task is not None)
        if self._deadline_timer is not None:
            self._deadline_timer.cancel()

    async def wait_until_idle(self) -> None:
        """Return when every write has been answered: after the time limit at the latest."""
        while self._queue or any(not write.result.done() for write in self._in_hand):
            self._progress.clear()
            await self._progress.wait()

    def append(self, room_id: int, user_id: int, request_id: str, body: str) -> asyncio.Future[WriteResult]:
        """Queue a message (cleaned text). Raises `Unavailable` when too many wait.

        The future ends with the result, or with `NotFound`, `Forbidden`, `Conflict`, `BadRequest`, `Unavailable` or
        `OutcomeUnknown`.
        """
        return self._enqueue(APPEND, room_id, {"user_id": user_id, "request_id": request_id, "body": body})

    def run(self, sql: str, **params: Any) -> asyncio.Future[WriteResult]:
        """Queue a unit of work of its own: a file that returns one row of the form of sql/events/append.sql.

        `room_id` in `params` names the queue; without one, the room does not exist yet. The file also gets a new
        `request_id`, by which it recognises its own repeats. Raises and ends as `append` does.
        """
        return self._enqueue(sql, params.get("room_id", 0), {"request_id": token_urlsafe(12), **params})

    def _enqueue(self, sql: str, room_id: int, params: dict[str, Any]) -> asyncio.Future[WriteResult]:
        if self._closing:
            raise Unavailable("The server is stopping; this was not stored. Try again in a moment.")
        loop = asyncio.get_running_loop()
        write = PendingWrite(sql, room_id, params, loop.time() + self._timeout_s)
        self._queue.put(write)
        self._work.set()
        if self._deadline_timer is None:
            self._deadline_timer = loop.call_later(self._timeout_s / DEADLINE_CHECKS, self._check_deadlines)
        return write.result

    # --- the loop -------------------------------------------------------------------------------------

    async def _run(self) -> None:
        while True:
            await self._work.wait()
            self._start_isolated()
            batch = self._take([room_id for room_id in self._queue.room_ids() if not self._is_isolated(room_id)])
            if batch:
                await self._write_batch(batch)
            else:
                self._work.clear()

    def _is_isolated(self, room_id: int) -> bool:
        return room_id in self._contended_rooms or room_id in self._isolated

    def _start_isolated(self) -> None:
        for room_id in self._contended_rooms.intersection(self._queue.room_ids()) - self._isolated.keys():
            if len(self._isolated) < MAX_ISOLATED_ROOMS and (batch := self._take([room_id])):
                self._isolate(room_id, batch)

    def _take(self, room_ids: list[int]) -> list[PendingWrite]:
        batch = self._queue.take(room_ids, max_rows=BATCH_ROWS, max_bytes=BATCH_BYTES)
        self._in_hand.update(batch)
        self._progress.set()
        return batch

    def _isolate(self, room_id: int, batch: list[PendingWrite]) -> None:
        def ended(_: object) -> None:
            del self._isolated[room_id]
            self._work.set()

        self._contended_rooms.add(room_id)
        self._in_hand.update(batch)
        task = self._isolated[room_id] = asyncio.create_task(self._write_batch(batch, isolated=True))
        task.add_done_callback(ended)

    async def _write_batch(self, batch: list[PendingWrite], *, isolated: bool = False) -> None:
        try:
            if isolated:
                async with self._isolated_slots:
                    await self._write(batch, isolated)
            else:
                await self._write(batch, isolated)
        except Exception:
            log.exception("a batch of %d writes failed", len(batch))
            for write in batch:
                write.uncertain = True
                write.reject_final(ChatError("Something went wrong in the server. It has been logged."))
        finally:
            self._in_hand.difference_update([write for write in batch if write.is_finished])  # the rest is isolated
            self._progress.set()

    async def _write(self, batch: list[PendingWrite], isolated: bool) -> None:
        """Repeat until the outcome of each write of the batch is known."""
        pause = RETRY_BACKOFF_S[0]
        while batch := [write for write in batch if not write.is_finished]:
            try:
                async with self._db.connection() as connection:
                    # Not before: what was withdrawn while we waited for the connection must not be sent.
                    batch = [write for write in batch if not write.is_finished]
                    rows = await _send(connection, batch) if batch else []
            except (Unreachable, StatementTimeout):
                pass
            except StatementFailed as error:
                if not error.is_transient:
                    return await self._split(batch, isolated, error)
                log.warning("PostgreSQL cannot write: %s", error.reason)
            else:
                if rows and rows[0].status == LOCKED:  # then all are
                    return await self._split(batch, isolated, None)
                if isolated:
                    self._contended_rooms.difference_update({write.room_id for write in batch})
                return self._resolve(batch, rows)
            await asyncio.sleep(pause)
            pause = min(pause * 2, RETRY_BACKOFF_S[1])

    async def _split(self, batch: list[PendingWrite], isolated: bool, error: StatementFailed | None) -> None:
        """Find the writes that the error is about: room by room, each isolated; then by halves, down to one.

        Without an error another transaction keeps one of the rooms locked.
        """
        rooms: dict[int, list[PendingWrite]] = {}
        for write in batch:
            rooms.setdefault(write.room_id, []).append(write)
        if len(rooms) > 1:
            for room_id, writes in rooms.items():
                self._isolate(room_id, writes)
        elif error is None or error.is_lock_timeout:
            log.warning("room %d is locked by another transaction", batch[0].room_id)
            self._contended_rooms.update(rooms)
            for write in batch:
                write.reject_final(room_is_busy())
        elif len(batch) > 1:
            middle = len(batch) // 2
            await self._write(batch[:middle], isolated)
            await self._write(batch[middle:], isolated)
        else:
            log.warning("PostgreSQL rejects a row: %s", error.reason)
            batch[0].reject_final(
                BadRequest("The database cannot store this.")
                if error.is_data_error
                else ChatError("Something went wrong in the server; this was not stored.")
            )

    # --- results --------------------------------------------------------------------------------------

    def _resolve(self, batch: list[PendingWrite], rows: list[_ResultRow]) -> None:
        """Answer each author, and tell every process what is new."""
        notifications = []
        for n, status, event in rows:
            write = batch[n - 1]
            if event is not None and (status == "new" or write.uncertain):
                notifications.append(event_notification(event))
            if event is None or event.kind == EventKind.MESSAGE or write.is_exclusive:  # else the join before a message
                if refusal := REFUSALS.get(status):
                    write.uncertain = False  # an earlier attempt that took effect would be a duplicate
                    write.reject(refusal())
                else:
                    write.resolve(WriteResult(event, status != "new"))
        if notifications:
            self._notifier.notify(notifications)

    def _check_deadlines(self) -> None:
        """Answer every write whose deadline has passed. Called as long as there are any."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        self._queue.expire(now)
        for write in self._in_hand:
            if write.deadline <= now:
                if write.sent or write.uncertain:
                    write.reject(
                        OutcomeUnknown("The database did not answer. Repeat the write with the same requestId.")
                    )
                    write.uncertain = True  # so it is repeated until its outcome is known
                else:
                    write.reject(Unavailable("The database cannot be reached; this was not stored. Try again."))
        self._progress.set()
        self._deadline_timer = None
        if self.unfinished:
            self._deadline_timer = loop.call_later(self._timeout_s / DEADLINE_CHECKS, self._check_deadlines)


async def _send(connection: Connection, batch: list[PendingWrite]) -> list[_ResultRow]:
    """Try once, and if a room is locked again, waiting for it. Return the rows. Raises `StatementFailed` or
    `StatementTimeout`. Marks each write while it is with PostgreSQL."""
    sql, params = batch[0].sql, batch[0].params
    if sql == APPEND:
        params = {
            "room_ids": [write.room_id for write in batch],
            "user_ids": [write.params["user_id"] for write in batch],
            "request_ids": [write.params["request_id"] for write in batch],
            "bodies": [write.params["body"] for write in batch],
            "locked_ids": list({write.room_id: None for write in batch}),
            "waits": False,
        }
    for write in batch:
        write.sent = True
    try:
        rows = await connection.fetch(sql, _ResultRow, params)
        if sql == APPEND and rows[0].status == LOCKED:
            rows = await connection.fetch(sql, _ResultRow, {**params, "waits": True})  # dearer: see lock_rooms
        return rows
    except StatementTimeout:
        for write in batch:
            write.uncertain = True
        raise
    finally:
        for write in batch:
            write.sent = False
