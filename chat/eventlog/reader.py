"""Reading what was said."""

from collections.abc import Iterable
from itertools import groupby
from operator import itemgetter
from typing import Any, NamedTuple

from chat.db.batch_loader import Gather
from chat.db.pool import Database
from chat.errors import NotFound
from chat.eventlog.event import Event, event_array

TOGETHER = 16  # pages that one query reads
LARGE = 200  # rows; a larger page is read alone: the rows of a query come in one tick of the loop


class _Before(NamedTuple):
    room_id: int
    reader_id: int
    before: int | None
    most: int


class _After(NamedTuple):
    room_id: int
    reader_id: int | None
    after: int
    most: int


class History:
    """What was said. Readers who wait at the same time share a query, and the same page is read once."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._before: Gather[_Before, bytes | None] = Gather(self._load_before, most=TOGETHER)
        self._after: Gather[_After, tuple[int, list[Event]] | None] = Gather(self._load_after, most=TOGETHER)

    async def page(self, reader_id: int, room_id: int, *, before: int | None, after: int | None, most: int) -> bytes:
        """Messages between two numbers (both excluded), oldest first: the first ones after `after`, else the last.

        A finished JSON array. Raises `NotFound`.
        """
        if after is None:
            page = await self._before.get(_Before(room_id, reader_id, before, most))
        else:
            rows = await self._db.all(
                "messages/list_after", room_id=room_id, reader_id=reader_id, after=after, before=before, limit=most
            )
            page = event_array(_events(rows)) if rows else None
        if page is None:
            raise _no_such_room()
        return page

    async def events(self, reader_id: int | None, room_id: int, *, after: int, most: int) -> tuple[int, list[Event]]:
        """The room's last seq, and at most `most` events after `after`, dense. Raises `NotFound`.

        `reader_id` None is the server itself, which repairs gaps.
        """
        ask = _After(room_id, reader_id, after, most)
        found = await self._after.get(ask) if most <= LARGE else (await self._load_after([ask]))[ask]
        if found is None:
            raise _no_such_room()
        return found

    async def _load_before(self, asks: list[_Before]) -> dict[_Before, bytes | None]:
        room_ids, reader_ids, befores, limits = map(list, zip(*asks, strict=True))
        rows = await self._db.all(
            "messages/list_before", room_ids=room_ids, reader_ids=reader_ids, befores=befores, limits=limits
        )
        found: dict[_Before, bytes | None] = dict.fromkeys(asks)
        for ordinals, page in groupby(rows, itemgetter(0)):
            array = event_array(_events(row[1:] for row in page))
            found.update((asks[ordinal - 1], array) for ordinal in ordinals)
        return found

    async def _load_after(self, asks: list[_After]) -> dict[_After, tuple[int, list[Event]] | None]:
        room_ids, reader_ids, afters, limits = map(list, zip(*asks, strict=True))
        rows = await self._db.all(
            "events/list_after", room_ids=room_ids, reader_ids=reader_ids, afters=afters, limits=limits
        )
        found: dict[_After, tuple[int, list[Event]] | None] = dict.fromkeys(asks)
        for (ordinals, last), page in groupby(rows, itemgetter(0, 1)):
            stretch = last, _events(row[2:] for row in page)
            found.update((asks[ordinal - 1], stretch) for ordinal in ordinals)
        return found


def _events(rows: Iterable[Any]) -> list[Event]:
    """The events of rows; a row of nulls stands for none."""
    return [Event._make(row) for row in rows if row[0] is not None]


def _no_such_room() -> NotFound:
    return NotFound("there is no such room")
