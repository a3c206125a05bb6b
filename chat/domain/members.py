"""Who is in a room."""

from typing import Any

from chat.db.pool import Database
from chat.domain.rooms import _no_such_room
from chat.eventlog.writer import Journal


async def join(journal: Journal, user_id: int, room_id: int) -> None:
    """Makes the user a member of a public room; nothing happens if he is. Raises `NotFound`, `Forbidden`, …"""
    await journal.change("members/join", room_id=room_id, user_id=user_id)


async def leave(journal: Journal, user_id: int, room_id: int) -> None:
    """Ends the user's membership; nothing happens if there is none. Raises `NotFound`, …"""
    await journal.change("members/leave", room_id=room_id, user_id=user_id)


async def members(db: Database, reader_id: int, room_id: int, *, after: int, most: int) -> list[Any]:
    """At most `most` members with a user id above `after`: see sql/members/list.sql. Raises `NotFound`."""
    rows = await db.all("members/list", room_id=room_id, reader_id=reader_id, after=after, limit=most)
    if not rows:
        raise _no_such_room()
    return [row for row in rows if row.user_id is not None]
