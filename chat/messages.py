"""Saying something in a room, and reading what was said."""

import asyncio
from secrets import token_urlsafe

from chat.db import Database
from chat.errors import NotFound
from chat.journal import Answer, Journal
from chat.protocol import Event


def post(journal: Journal, user_id: int, room_id: int, text: str, client_id: str | None) -> asyncio.Future[Answer]:
    """Puts a message (cleaned text) into the log; a public room is joined by it.

    Without a clientId it gets one here, so that the journal can repeat it. Errors: see `Journal.append`.
    """
    return journal.append(room_id, user_id, client_id or token_urlsafe(12), text)


async def history(
    db: Database, reader_id: int, room_id: int, *, before: int | None, after: int | None, most: int
) -> list[Event]:
    """Messages between two numbers (both excluded), oldest first: the first ones after `after`, else the last.

    Raises `NotFound`.
    """
    if after is None:
        rows = await db.all("messages/before", room_id=room_id, reader_id=reader_id, before=before, most=most)
    else:
        rows = await db.all(
            "messages/after", room_id=room_id, reader_id=reader_id, after=after, before=before, most=most
        )
    if not rows:
        raise NotFound("there is no such room")
    return [Event._make(row) for row in rows if row.seq is not None]


async def events(
    db: Database, reader_id: int | None, room_id: int, *, after: int, most: int
) -> tuple[int, list[Event]]:
    """The room's last seq, and at most `most` events after `after`, dense. Raises `NotFound`.

    `reader_id` None is the server itself, which repairs gaps.
    """
    rows = await db.all("events/after", room_id=room_id, reader_id=reader_id, after=after, most=most)
    if not rows:
        raise NotFound("there is no such room")
    return rows[0].last_seq, [Event._make(row[1:]) for row in rows if row.seq is not None]
