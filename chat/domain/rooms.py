"""Rooms: creating, listing. What changes a room goes through the event writer and becomes an event of its log."""

from datetime import datetime
from typing import NamedTuple

from chat.db.batch_loader import BatchLoader
from chat.db.pool import Database
from chat.eventlog.refusals import no_such_room
from chat.eventlog.writer import EventWriter
from chat.protocol.text import MAX_ROOM_NAME_CHARS, MAX_TOPIC_CHARS, clean_line, room_name_key

MAX_BATCH = 20  # users whose rooms one query reads: its rows come in one tick of the loop


class Room(NamedTuple):
    """A room as one user sees it. `read_message_no`: 0 for users who are not members."""

    id: int
    name: str
    kind: str
    topic: str
    created_at: datetime
    member_count: int
    is_member: bool
    last_seq: int
    last_message_no: int
    read_message_no: int


class JoinedRoom(NamedTuple):
    """A room of a user, as a new connection needs it."""

    user_id: int
    room_id: int
    name: str
    last_seq: int
    last_message_no: int
    read_message_no: int


async def list_visible(db: Database, user_id: int) -> list[Room]:
    """The public rooms and the user's own, by id."""
    return await db.fetch_all("rooms/list_visible", Room, user_id=user_id, room_id=None)


async def get(db: Database, user_id: int, room_id: int) -> Room:
    """A room that the user may read. Raises `NotFound`."""
    room = await db.fetch_one("rooms/list_visible", Room, user_id=user_id, room_id=room_id)
    if room is None:
        raise no_such_room()
    return room


class RoomListLoader:
    """Loads the rooms of users. Connections that come at the same time share a query."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._loader: BatchLoader[int, list[JoinedRoom]] = BatchLoader(self._load, max_batch_size=MAX_BATCH)

    async def load(self, user_id: int) -> list[JoinedRoom]:
        """The rooms of a user that are not archived, by id."""
        return await self._loader.load(user_id)

    async def _load(self, user_ids: list[int]) -> dict[int, list[JoinedRoom]]:
        found: dict[int, list[JoinedRoom]] = {user_id: [] for user_id in user_ids}
        for room in await self._db.fetch_all("rooms/list_joined", JoinedRoom, user_ids=user_ids):
            found[room.user_id].append(room)
        return found


async def create(writer: EventWriter, user_id: int, name: str, topic: str) -> Room:
    """Create a public room with its owner. Raises `BadRequest`, `Conflict` (taken), `Unavailable`, `OutcomeUnknown`."""
    name = clean_line(name, "name", 1, MAX_ROOM_NAME_CHARS)
    topic = clean_line(topic, "topic", 0, MAX_TOPIC_CHARS)
    key = room_name_key(name)
    result = await writer.run("rooms/create", name=name, name_key=key, topic=topic, user_id=user_id)
    event = result.event
    assert event is not None
    return Room(event.room_id, name, "public", topic, event.created_at, 1, True, event.seq, 0, 0)
