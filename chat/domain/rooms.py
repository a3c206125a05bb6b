"""Rooms: creating, listing. What changes a room goes through the event writer and becomes an event of its log."""

import asyncio
from datetime import datetime
from typing import NamedTuple

from chat.db.batch_loader import BatchLoader
from chat.db.pool import Database
from chat.eventlog.refusals import no_such_room
from chat.eventlog.writer import EventWriter
from chat.protocol.text import MAX_ROOM_NAME_CHARS, MAX_TOPIC_CHARS, clean_line, room_name_key

PAUSES = 2.0  # between two pages of the list of rooms, in times of what the first took
MAX_PAUSE_S = 0.1  # a page that took long for another reason keeps nobody waiting
MAX_BATCH = 20  # users whose rooms one query reads


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


class JoinedRooms(NamedTuple):
    """The rooms of a user that are not archived, as a new connection needs them.

    last_seqs: by room, in the order of their ids, the number of its last event
    hello_rooms: the rooms of the hello as finished JSON
    """

    last_seqs: dict[int, int]
    hello_rooms: bytes


class _JoinedRow(NamedTuple):
    user_id: int
    room_ids: list[int]
    last_seqs: list[int]
    hello_rooms: str


class RoomCursor(NamedTuple):
    """The place in a list of rooms after which a page begins.

    room_id: the last room of the page before; None at the beginning of the list
    is_own: whether it was listed as one of the user's own; None to ask whether it is one now
    began_us: when the list began, in microseconds since 1970; None for now
    """

    room_id: int | None = None
    is_own: bool | None = None
    began_us: int | None = None


class RoomPage(NamedTuple):
    """A page of a list of rooms as finished JSON, and where the next one begins, if there is one."""

    rooms: bytes
    next: RoomCursor | None


class _PageRow(NamedTuple):
    rooms: str
    has_more: bool
    last_id: int | None
    last_is_own: bool | None
    began_us: int


async def get(db: Database, user_id: int, room_id: int) -> Room:
    """A room that the user may read. Raises `NotFound`."""
    room = await db.fetch_one("rooms/get", Room, user_id=user_id, room_id=room_id)
    if room is None:
        raise no_such_room()
    return room


class RoomDirectory:
    """Lists the rooms that users may read: the public ones and their own, these first.

    Users who ask for long lists all the time wait for each other, and hardly anybody else for them: one page is made at
    a time, in PostgreSQL, the next one after a pause of twice as long, and equal requests that wait together share one.
    A request that comes alone waits for nothing.
    """

    def __init__(self, db: Database) -> None:
        self._db = db
        self._loader: BatchLoader[tuple[int, RoomCursor, int], RoomPage] = BatchLoader(
            self._load, max_batch_size=1, max_concurrent=1
        )
        self._paused_until = 0.0

    async def list_page(self, user_id: int, cursor: RoomCursor, limit: int) -> RoomPage:
        """At most `limit` rooms after the cursor."""
        return await self._loader.load((user_id, cursor, limit))

    async def _load(self, keys: list[tuple[int, RoomCursor, int]]) -> dict[tuple[int, RoomCursor, int], RoomPage]:
        loop = asyncio.get_running_loop()
        await asyncio.sleep(self._paused_until - loop.time())
        began = loop.time()
        found = {key: await self._read(*key) for key in keys}
        self._paused_until = loop.time() + min(MAX_PAUSE_S, PAUSES * (loop.time() - began))
        return found

    async def _read(self, user_id: int, cursor: RoomCursor, limit: int) -> RoomPage:
        row = await self._db.fetch_one(
            "rooms/list_page",
            _PageRow,
            user_id=user_id,
            after=cursor.room_id,
            is_own=cursor.is_own,
            began_us=cursor.began_us,
            limit=limit,
        )
        assert row is not None
        following = RoomCursor(row.last_id, row.last_is_own, row.began_us) if row.has_more else None
        return RoomPage(row.rooms.encode(), following)


class RoomListLoader:
    """Loads the rooms of users. Connections that come at the same time share a query."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._loader: BatchLoader[int, JoinedRooms] = BatchLoader(self._load, max_batch_size=MAX_BATCH)

    async def load(self, user_id: int) -> JoinedRooms:
        """The rooms of a user. Callers that share a query share the result."""
        return await self._loader.load(user_id)

    async def _load(self, user_ids: list[int]) -> dict[int, JoinedRooms]:
        found = {user_id: JoinedRooms({}, b"[]") for user_id in user_ids}
        for row in await self._db.fetch_all("rooms/list_joined", _JoinedRow, user_ids=user_ids):
            last_seqs = dict(zip(row.room_ids, row.last_seqs, strict=True))
            found[row.user_id] = JoinedRooms(last_seqs, row.hello_rooms.encode())
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
