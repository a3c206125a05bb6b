"""Rooms. What changes a room goes through the journal and becomes an event of its log."""

from datetime import datetime
from typing import Any, NamedTuple

from chat.db.batch_loader import Gather
from chat.db.pool import Database
from chat.errors import NotFound
from chat.eventlog.writer import Journal
from chat.protocol.frames import ROOM_NAME_CHARS, TOPIC_CHARS
from chat.protocol.text import clean_line

TOGETHER = 20  # users whose rooms one query reads: its rows come in one tick of the loop


class Room(NamedTuple):
    """A room as one user sees it: `members` is how many there are, `member` whether he is one."""

    id: int
    name: str
    kind: str
    topic: str
    created_at: datetime
    members: int
    member: bool
    last_seq: int
    last_message_no: int
    read_message_no: int


async def visible(db: Database, user_id: int) -> list[Room]:
    """The public rooms and the user's own, by id."""
    return [Room._make(row) for row in await db.all("rooms/list_visible", user_id=user_id, room_id=None)]


async def get(db: Database, user_id: int, room_id: int) -> Room:
    """One of them. Raises `NotFound`."""
    row = await db.one("rooms/list_visible", user_id=user_id, room_id=room_id)
    if row is None:
        raise _no_such_room()
    return Room._make(row)


class Joined:
    """The rooms of a user as a new socket needs them. Sockets that come at the same time share a query."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._gather: Gather[int, list[Any]] = Gather(self._load, most=TOGETHER)

    async def of(self, user_id: int) -> list[Any]:
        """The rows of sql/rooms/list_joined.sql."""
        return await self._gather.get(user_id)

    async def _load(self, user_ids: list[int]) -> dict[int, list[Any]]:
        found: dict[int, list[Any]] = {user_id: [] for user_id in user_ids}
        for row in await self._db.all("rooms/list_joined", user_ids=user_ids):
            found[row.user_id].append(row)
        return found


async def create(journal: Journal, user_id: int, name: str, topic: str) -> Room:
    """A new public room with its owner. Raises `BadRequest`, `Conflict` (taken), `Unavailable`, `OutcomeUnknown`."""
    name = clean_line(name, "name", 1, ROOM_NAME_CHARS)
    topic = clean_line(topic, "topic", 0, TOPIC_CHARS)
    answer = await journal.change("rooms/create", name=name, topic=topic, user_id=user_id)
    event = answer.event
    assert event is not None
    return Room(event.room_id, name, "public", topic, event.created_at, 1, True, event.seq, 0, 0)


def _no_such_room() -> NotFound:
    return NotFound("there is no such room")
