"""The writes that wait for PostgreSQL: a queue for each room, and a fair share of each for the next batch.

Knows nothing of the database; its only tie to asyncio is the future by which an author is answered.
"""

import asyncio
from collections import deque
from typing import Any, NamedTuple

from chat.errors import ChatError, OutcomeUnknown, Unavailable
from chat.eventlog.event import Event

APPEND = "events/append"  # the file of sql/ whose writes are sent together


class WriteResult(NamedTuple):
    """The outcome of a write. No event: there was nothing to do (joined twice, left twice)."""

    event: Event | None
    duplicate: bool


class PendingWrite:
    """One write on its way.

    sql: the file of sql/ that does it
    params: those of the file; for an append its own values, because appends are sent together
    deadline: when the author is answered at the latest, in the loop's seconds
    result: what the author waits for
    sent: whether the write is with PostgreSQL at the moment
    uncertain: whether it was sent before and no answer came
    """

    __slots__ = ("deadline", "params", "result", "room_id", "sent", "sql", "uncertain")

    def __init__(self, sql: str, room_id: int, params: dict[str, Any], deadline: float) -> None:
        self.sql, self.room_id, self.params, self.deadline = sql, room_id, params, deadline
        self.result: asyncio.Future[WriteResult] = asyncio.get_running_loop().create_future()
        self.sent = False
        self.uncertain = False

    @property
    def is_exclusive(self) -> bool:
        """Whether it is sent alone."""
        return self.sql != APPEND

    @property
    def is_finished(self) -> bool:
        """Whether nothing more has to be done: answered, or withdrawn before it was ever sent."""
        return self.result.done() and not self.uncertain

    def resolve(self, result: WriteResult) -> None:
        """Answer the author. The outcome is known, so there will be no other attempt."""
        self.uncertain = False
        if not self.result.done():
            self.result.set_result(result)

    def reject(self, error: ChatError) -> None:
        """Tell the author an error, unless they have been answered."""
        if not self.result.done():
            self.result.set_exception(error)
            self.result.exception()  # the author may be gone; then nobody looks at it, which is not a fault

    def reject_final(self, error: ChatError) -> None:
        """Tell the author an error after which there is no other attempt. If an earlier attempt may have taken effect
        the outcome is unknown."""
        if self.uncertain:
            error = OutcomeUnknown(
                "The database did not answer, and then the write failed. Repeat it with the same requestId."
            )
        self.uncertain = False
        self.reject(error)


class WriteQueue:
    """`limit`: how many writes may wait."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._rooms: dict[int, deque[PendingWrite]] = {}  # in the order of their turns
        self._count = 0

    def __len__(self) -> int:
        """How many writes wait."""
        return self._count

    def room_ids(self) -> list[int]:
        """The rooms in which writes wait, in the order of their turns."""
        return list(self._rooms)

    def put(self, write: PendingWrite) -> None:
        """Add a write. Raises `Unavailable` when too many wait."""
        if self._count >= self._limit:
            raise Unavailable("Too many writes are waiting; this one was not stored. Try again.", code="busy")
        self._rooms.setdefault(write.room_id, deque()).append(write)
        self._count += 1

    def take(self, room_ids: list[int], *, max_rows: int, max_bytes: int) -> list[PendingWrite]:
        """The next batch: a fair share of each of these rooms' appends, or one exclusive write.

        `max_bytes` is of the bodies; a batch may exceed it by one body.
        """
        share = max(1, max_rows // max(1, len(room_ids)))
        batch: list[PendingWrite] = []
        size = 0
        for room_id in room_ids:
            if len(batch) >= max_rows or size >= max_bytes:
                break
            queue = self._rooms[room_id]
            before = len(batch)
            while queue and len(batch) - before < share and size < max_bytes:
                exclusive = queue[0].is_exclusive
                if exclusive and batch:
                    break  # it keeps its place in the order of turns, and is first before long
                write = queue.popleft()
                self._count -= 1
                if not write.result.done():  # else its author has gone away
                    batch.append(write)
                    size = max_bytes if exclusive else size + len(write.params["body"].encode())
            if len(batch) > before or not queue:
                del self._rooms[room_id]
                if queue:
                    self._rooms[room_id] = queue  # its next turn comes after those of the others
        return batch

    def expire(self, now: float) -> None:
        """Withdraw the writes whose deadline has passed: they were never sent."""
        for room_id, queue in list(self._rooms.items()):
            while queue and queue[0].deadline <= now:
                queue.popleft().reject(Unavailable("The database is busy or gone; this was not stored. Try again."))
                self._count -= 1
            if not queue:
                del self._rooms[room_id]
