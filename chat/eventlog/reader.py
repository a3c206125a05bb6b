"""Reading the log: pages of messages for people, stretches of events for clients and for the relay.

Readers that wait at the same time share a query, and the same page is read once.
"""

from itertools import groupby
from operator import itemgetter
from typing import NamedTuple

from chat.db.batch_loader import BatchLoader
from chat.db.pool import Database
from chat.eventlog.event import Event, event_array, event_frame
from chat.eventlog.refusals import no_such_room

MAX_BATCH = 16  # pages that one query reads
NAMES_SETTLE_S = 30.0  # longer than any transaction of ours lasts
MAX_BATCHED_PAGE = 200  # rows; a larger page is read alone, because the rows of a query come in one tick of the loop


class _PageBefore(NamedTuple):
    room_id: int
    reader_id: int
    before: int | None
    limit: int


class _LatestMessages(NamedTuple):
    room_id: int
    reader_id: int
    limit: int


class _EventsAfter(NamedTuple):
    room_id: int
    reader_id: int | None
    after: int
    limit: int


class _MessageRow(NamedTuple):
    event: Event | None


class _PageRow(NamedTuple):
    ordinals: str
    event: Event | None


class _LatestRow(NamedTuple):
    ordinals: str
    last_seq: int
    epoch: str
    names_version: int
    names_settled: bool
    event: Event | None


class _StretchRow(NamedTuple):
    ordinals: str
    last_seq: int
    event: Event | None


class Stretch(NamedTuple):
    """Events of a room, dense, and the room's last seq when they were read."""

    last_seq: int
    events: list[Event]


class LatestPage(NamedTuple):
    """The last messages of a room, oldest first, and what was true when they were read, in the same snapshot.

    last_seq: of the room
    names_version: the number of changes of names so far
    names_settled: whether every transaction that did not see the last of these has ended
    seqs, frames: the number and the finished JSON of each message
    """

    last_seq: int
    epoch: str
    names_version: int
    names_settled: bool
    seqs: list[int]
    frames: list[bytes]


class EventReader:
    """Reads messages and events of rooms."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._pages: BatchLoader[_PageBefore, bytes | None] = BatchLoader(self._load_pages, max_batch_size=MAX_BATCH)
        self._latest: BatchLoader[_LatestMessages, LatestPage | None] = BatchLoader(
            self._load_latest, max_batch_size=MAX_BATCH
        )
        self._stretches: BatchLoader[_EventsAfter, Stretch | None] = BatchLoader(
            self._load_stretches, max_batch_size=MAX_BATCH
        )

    async def page(self, reader_id: int, room_id: int, *, before: int | None, after: int | None, limit: int) -> bytes:
        """Messages between two numbers (both excluded), oldest first: the first ones after `after`, else the last.

        A finished JSON array. Raises `NotFound`.
        """
        if after is None:
            page = await self._pages.load(_PageBefore(room_id, reader_id, before, limit))
        else:
            rows = await self._db.fetch_all(
                "messages/list_after",
                _MessageRow,
                room_id=room_id,
                reader_id=reader_id,
                after=after,
                before=before,
                limit=limit,
            )
            page = event_array(row.event for row in rows if row.event is not None) if rows else None
        if page is None:
            raise no_such_room()
        return page

    async def latest(self, reader_id: int, room_id: int, *, limit: int) -> LatestPage:
        """The last messages, with what has to be known to keep them. Raises `NotFound`."""
        page = await self._latest.load(_LatestMessages(room_id, reader_id, limit))
        if page is None:
            raise no_such_room()
        return page

    async def events(self, reader_id: int | None, room_id: int, *, after: int, limit: int) -> Stretch:
        """At most `limit` events after `after`. Raises `NotFound`.

        `reader_id` None is the server itself, which fills gaps.
        """
        request = _EventsAfter(room_id, reader_id, after, limit)
        if limit <= MAX_BATCHED_PAGE:
            found = await self._stretches.load(request)
        else:
            found = (await self._load_stretches([request]))[request]
        if found is None:
            raise no_such_room()
        return found

    async def _load_pages(self, requests: list[_PageBefore]) -> dict[_PageBefore, bytes | None]:
        room_ids, reader_ids, befores, limits = map(list, zip(*requests, strict=True))
        rows = await self._db.fetch_all(
            "messages/list_before", _PageRow, room_ids=room_ids, reader_ids=reader_ids, befores=befores, limits=limits
        )
        found: dict[_PageBefore, bytes | None] = dict.fromkeys(requests)
        for ordinals, page in groupby(rows, itemgetter(0)):
            array = event_array(row.event for row in page if row.event is not None)
            found.update((requests[position], array) for position in _positions(ordinals))
        return found

    async def _load_latest(self, requests: list[_LatestMessages]) -> dict[_LatestMessages, LatestPage | None]:
        room_ids, reader_ids, limits = map(list, zip(*requests, strict=True))
        rows = await self._db.fetch_all(
            "messages/list_latest",
            _LatestRow,
            room_ids=room_ids,
            reader_ids=reader_ids,
            limits=limits,
            settle_s=NAMES_SETTLE_S,
        )
        found: dict[_LatestMessages, LatestPage | None] = dict.fromkeys(requests)
        for (ordinals, last_seq, epoch, version, settled), group in groupby(rows, itemgetter(0, 1, 2, 3, 4)):
            events = [row.event for row in group if row.event is not None]
            seqs, frames = [event.seq for event in events], list(map(event_frame, events))
            page = LatestPage(last_seq, epoch, version, settled, seqs, frames)
            found.update((requests[position], page) for position in _positions(ordinals))
        return found

    async def _load_stretches(self, requests: list[_EventsAfter]) -> dict[_EventsAfter, Stretch | None]:
        room_ids, reader_ids, afters, limits = map(list, zip(*requests, strict=True))
        rows = await self._db.fetch_all(
            "events/list_after", _StretchRow, room_ids=room_ids, reader_ids=reader_ids, afters=afters, limits=limits
        )
        found: dict[_EventsAfter, Stretch | None] = dict.fromkeys(requests)
        for (ordinals, last_seq), page in groupby(rows, itemgetter(0, 1)):
            stretch = Stretch(last_seq, [row.event for row in page if row.event is not None])
            found.update((requests[position], stretch) for position in _positions(ordinals))
        return found


def _positions(ordinals: str) -> list[int]:
    return [int(ordinal) - 1 for ordinal in ordinals.split()]
