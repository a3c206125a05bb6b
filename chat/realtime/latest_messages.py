"""The latest messages of live rooms, from memory.

    first reader ─ page and last_seq, of one snapshot ─ is the hub exactly there? ─ yes: kept, and extended by the hub
    next readers ─ where the log ends, of one snapshot ─ was the memory there before that was asked? ─ yes: answered

The answer is the one that PostgreSQL would have given in that second snapshot, byte for byte: it has the messages up to
the last_seq that the snapshot shows, however far the memory has come meanwhile. So it contains what was acknowledged
before the request, and the permission is as fresh as the messages. Everything else goes to PostgreSQL.

Names are joined to events at reading, and `names_version` counts their changes. All frames of a memory have the names
of its version, because

- a frame that the memory already had when the question was asked was made before the snapshot, so its names are no
  newer than the version that the snapshot shows. One that came later may have newer names, so it is not used.
- a frame that came after the filling was made from a later snapshot, unless by the transaction that appended the event
  and did not see the last change of a name. So pages are only kept when such transactions have ended.
"""

from typing import NamedTuple

from chat.auth.tokens import Tokens
from chat.db.batch_loader import BatchLoader
from chat.db.pool import Database
from chat.eventlog.event import EventKind, frame_array
from chat.eventlog.reader import EventReader, LatestPage
from chat.eventlog.refusals import no_such_room
from chat.protocol.notifications import Notification
from chat.realtime.hub import Hub

LIMIT_BYTES = 64 * 1024 * 1024  # of all memories
MAX_MESSAGES = 200  # of a room: the largest page that may be asked for
MIN_MESSAGES = 50  # that are read to fill a memory: the page that everybody asks for
OVERHEAD_BYTES = 100  # of a frame beside its text: two objects and their places in two lists
MAX_BATCH = 64  # rooms whose ends one query reads


class _Request(NamedTuple):
    room_id: int
    reader_id: int


class _EndRow(NamedTuple):
    ordinal: int
    last_seq: int
    epoch: str
    names_version: int


class _Answer(NamedTuple):
    """Where a room's log ends; and its memory with the number that it had reached before that was asked."""

    end: _EndRow
    memory: "_Memory | None"
    seq: int


class _Memory:
    """The last messages of one room. It follows the room in the hub.

    seq: the number of the last event that it knows, message or not
    is_whole: whether the room has no older messages
    """

    __slots__ = ("_frames", "_owner", "_seqs", "epoch", "is_whole", "names_version", "room_id", "seq", "size_bytes")

    def __init__(self, owner: "LatestMessages", room_id: int, page: LatestPage, *, is_whole: bool) -> None:
        self._owner, self.room_id, self.is_whole = owner, room_id, is_whole
        self.seq, self.epoch, self.names_version = page.last_seq, page.epoch, page.names_version
        self._seqs, self._frames = list(page.seqs), list(page.frames)
        self.size_bytes = sum(map(len, self._frames)) + OVERHEAD_BYTES * (1 + len(self._frames))

    def __len__(self) -> int:
        return len(self._frames)

    def on_event(self, notification: Notification) -> None:
        """Take the room's next event. One that may have changed a message ends the memory."""
        _, seq, kind, frame, _ = notification
        assert seq is not None
        self.seq = seq
        if kind == EventKind.MESSAGE:
            self._seqs.append(seq)
            self._frames.append(frame)
            added_bytes = len(frame) + OVERHEAD_BYTES
            if len(self._frames) > MAX_MESSAGES:
                self.is_whole = False
                added_bytes -= len(self._frames.pop(0)) + OVERHEAD_BYTES
                del self._seqs[0]
            self.size_bytes += added_bytes
            self._owner.grow(added_bytes)
        elif kind not in (EventKind.MEMBER, EventKind.ROOM):
            self._owner.drop(self)

    def on_forgotten(self) -> None:
        """The hub has forgotten the room."""
        self._owner.drop(self)

    def page(self, last_seq: int, limit: int) -> bytes | None:
        """The last messages up to a number. None if the memory does not go back far enough."""
        end = len(self._seqs)
        while end and self._seqs[end - 1] > last_seq:
            end -= 1
        if end < limit and not self.is_whole:
            return None
        return frame_array(self._frames[max(0, end - limit) : end])


class LatestMessages:
    """The memories of this process.

    answered_from_memory: how many pages were
    size_bytes: what the memories take, at most `limit_bytes`; the least recently read ones go
    """

    def __init__(
        self, db: Database, reader: EventReader, hub: Hub, tokens: Tokens, *, limit_bytes: int = LIMIT_BYTES
    ) -> None:
        self._db, self._reader, self._hub, self._tokens, self._limit_bytes = db, reader, hub, tokens, limit_bytes
        self._memories: dict[int, _Memory] = {}  # the least recently read one first
        self._ends: BatchLoader[_Request, _Answer | None] = BatchLoader(self._load_ends, max_batch_size=MAX_BATCH)
        self.answered_from_memory = 0
        self.size_bytes = 0

    async def page(self, reader_id: int, room_id: int, *, limit: int) -> bytes:
        """The last `limit` messages of a room, oldest first, as a finished JSON array. Raises `NotFound`."""
        if self._hub.last_sent_seq(room_id) is None:
            return await self._reader.page(reader_id, room_id, before=None, after=None, limit=limit)
        if room_id in self._memories:
            answer = await self._ends.load(_Request(room_id, reader_id))
            if answer is None:
                raise no_such_room()
            if (recalled := self._recall(answer, limit)) is not None:
                self.answered_from_memory += 1
                return recalled
        wanted = max(limit, MIN_MESSAGES)
        page = await self._reader.latest(reader_id, room_id, limit=wanted)
        self._keep(room_id, page, is_whole=len(page.frames) < wanted)
        return frame_array(page.frames[-limit:])

    async def _load_ends(self, requests: list[_Request]) -> dict[_Request, _Answer | None]:
        memories = [self._memories.get(request.room_id) for request in requests]
        seqs = [0 if memory is None else memory.seq for memory in memories]
        room_ids, reader_ids = map(list, zip(*requests, strict=True))
        rows = await self._db.fetch_all("rooms/list_ends", _EndRow, room_ids=room_ids, reader_ids=reader_ids)
        found: dict[_Request, _Answer | None] = dict.fromkeys(requests)
        for row in rows:
            place = row.ordinal - 1
            found[requests[place]] = _Answer(row, memories[place], seqs[place])
        return found

    def _recall(self, answer: _Answer, limit: int) -> bytes | None:
        end, memory, seq = answer
        if memory is None or self._memories.get(memory.room_id) is not memory or seq < end.last_seq:
            return None
        if memory.epoch != end.epoch or memory.names_version != end.names_version:
            self.drop(memory)
            return None
        self._memories[memory.room_id] = self._memories.pop(memory.room_id)
        return memory.page(end.last_seq, limit)

    def _keep(self, room_id: int, page: LatestPage, *, is_whole: bool) -> None:
        if (
            page.last_seq != self._hub.last_sent_seq(room_id)
            or page.epoch != self._tokens.epoch  # else the hub may be in another run of numbers
            or not page.names_settled
        ):
            return
        if (memory := self._memories.get(room_id)) is not None:
            if memory.names_version == page.names_version and (memory.is_whole or len(memory) >= len(page.frames)):
                return  # others may be waiting for their answers from this one
            self.drop(memory)
        memory = self._memories[room_id] = _Memory(self, room_id, page, is_whole=is_whole)
        self._hub.follow(room_id, memory)
        self.grow(memory.size_bytes)

    def grow(self, added_bytes: int) -> None:
        """Count what a memory has taken. Drop the least recently read ones while it is too much in all."""
        self.size_bytes += added_bytes
        while self.size_bytes > self._limit_bytes:
            self.drop(next(iter(self._memories.values())))

    def drop(self, memory: _Memory) -> None:
        """Forget a room's messages. The next reader fills the memory again."""
        if self._memories.get(memory.room_id) is memory:
            del self._memories[memory.room_id]
            self.size_bytes -= memory.size_bytes
            self._hub.follow(memory.room_id, None)
