"""Saying something in a room."""

import asyncio
from secrets import token_urlsafe

from chat.eventlog.writer import Answer, Journal


def post(journal: Journal, user_id: int, room_id: int, text: str, client_id: str | None) -> asyncio.Future[Answer]:
    """Puts a message (cleaned text) into the log; a public room is joined by it.

    Without a clientId it gets one here, so that the journal can repeat it. Errors: see `Journal.append`.
    """
    return journal.append(room_id, user_id, client_id or token_urlsafe(12), text)
