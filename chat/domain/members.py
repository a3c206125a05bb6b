"""Members of rooms: joining, leaving, listing."""

from datetime import datetime
from typing import NamedTuple

from chat.db.pool import Database
from chat.eventlog.refusals import no_such_room
from chat.eventlog.writer import EventWriter


class Member(NamedTuple):
    """A member of a room."""

    user_id: int
    username: str
    role: str
    is_bot: bool
    joined_at: datetime


class _MemberRow(NamedTuple):
    member: Member | None


async def join(writer: EventWriter, user_id: int, room_id: int) -> None:
    """Make the user a member of a public room, unless they are one. Raises `NotFound`, `Forbidden` (archived) and what
    `EventWriter.run` raises."""
    await writer.run("members/join", room_id=room_id, user_id=user_id)


async def leave(writer: EventWriter, user_id: int, room_id: int) -> None:
    """End the user's membership, if there is one. Raises `NotFound` and what `EventWriter.run` raises."""
    await writer.run("members/leave", room_id=room_id, user_id=user_id)


async def list_members(db: Database, reader_id: int, room_id: int, *, after: int, limit: int) -> list[Member]:
    """At most `limit` members with a user id above `after`, by id. Raises `NotFound`."""
    rows = await db.fetch_all(
        "members/list", _MemberRow, room_id=room_id, reader_id=reader_id, after=after, limit=limit
    )
    if not rows:
        raise no_such_room()
    return [row.member for row in rows if row.member is not None]
