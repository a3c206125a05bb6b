"""chat/eventlog/reader.py, chat/domain/rooms.py: users that share a query get what each would get alone, and
nothing that they may not read.
"""

import asyncio
import contextlib
from itertools import product

import psycopg2

from chat.db.pool import Database
from chat.domain.rooms import RoomListLoader
from chat.errors import NotFound
from chat.eventlog.event import Event
from chat.eventlog.reader import EventReader
from chat.protocol.codec import MAX_BIGINT
from tests.support.client import Chat, Person


def make_private(database_url: str, room: int) -> None:
    with contextlib.closing(psycopg2.connect(database_url)) as connection, connection, connection.cursor() as cursor:
        cursor.execute("UPDATE rooms SET kind = 'private' WHERE id = %s", [room])


async def three_rooms(alice: Person, database_url: str) -> list[int]:
    """A public one, an empty one, and a private one of Alice's."""
    full, empty, private = [await alice.creates() for _ in range(3)]
    for number in range(12):
        await alice.posts(f"number {number}", full)
        await alice.posts(f"secret {number}", private)
    make_private(database_url, private)
    return [full, empty, private, MAX_BIGINT]  # and one that does not exist


async def test_pages_loaded_together_are_those_loaded_alone(
    alice: Person, bob: Person, db: Database, database_url: str
) -> None:
    rooms = await three_rooms(alice, database_url)
    arguments = list(product((alice.id, bob.id), rooms, (None, 8, 1), (3, 50)))

    async def page(history: EventReader, reader: int, room: int, before: int | None, limit: int) -> bytes:
        try:
            return await history.page(reader, room, before=before, after=None, limit=limit)
        except NotFound:
            return b"not found"

    alone = [await page(EventReader(db), *each) for each in arguments]
    shared = EventReader(db)
    together = await asyncio.gather(*(page(shared, *each) for each in arguments * 2))
    assert together == alone * 2
    for (reader, room, _, _), found in zip(arguments, alone, strict=True):
        allowed = room in rooms[:2] or (room == rooms[2] and reader == alice.id)
        assert (found != b"not found") == allowed
        assert (b"secret" in found) <= (reader == alice.id)
    assert alone[1].count(b'"seq"') == 12 and alone[0].count(b'"seq"') == 3


async def test_ranges_loaded_together_are_those_loaded_alone(
    alice: Person, bob: Person, db: Database, database_url: str
) -> None:
    rooms = await three_rooms(alice, database_url)
    arguments = list(product((alice.id, bob.id, None), rooms, (0, 5, 100), (3, 100, 1_000)))

    async def load(
        history: EventReader, reader: int | None, room: int, after: int, limit: int
    ) -> tuple[int, list[Event]] | None:
        try:
            return await history.events(reader, room, after=after, limit=limit)
        except NotFound:
            return None

    alone = [await load(EventReader(db), *each) for each in arguments]
    shared = EventReader(db)
    together = await asyncio.gather(*(load(shared, *each) for each in arguments * 2))
    assert together == alone * 2
    for (reader, room, after, limit), found in zip(arguments, alone, strict=True):
        allowed = room in rooms[:2] or (room == rooms[2] and reader != bob.id)
        assert (found is not None) == allowed
        if found is not None:
            last, events = found
            assert [event.seq for event in events] == list(range(after + 1, last + 1))[:limit]


async def test_room_lists_loaded_together_are_those_of_each_user(chat: Chat, db: Database) -> None:
    users = [await chat.sign_up("somebody") for _ in range(5)]
    shared = await users[0].creates()
    for person in users[1:3]:
        await person.joins(shared)
    own = [await person.creates() for person in users[:4]]
    await users[4].leaves(1)
    await users[4].leaves(2)
    joined = RoomListLoader(db)
    found = await asyncio.gather(*(joined.load(person.id) for person in (*users, *users)))
    rooms = [list(each.last_seqs) for each in found]
    assert rooms[:5] == rooms[5:]
    assert rooms[:5] == [
        *([1, 2, shared, own[number]] for number in range(3)),
        [1, 2, own[3]],
        [],
    ]
