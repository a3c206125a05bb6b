"""Sending messages."""

import asyncio
from secrets import token_urlsafe

from chat.eventlog.write_queue import WriteResult
from chat.eventlog.writer import EventWriter


def send_message(
    writer: EventWriter, user_id: int, room_id: int, text: str, request_id: str | None
) -> asyncio.Future[WriteResult]:
    """Append a message (cleaned text) to the log; the user joins a public room by it.

    Without a requestId it gets one here, so that the writer can repeat it. Raises and ends as `EventWriter.append`.
    """
    return writer.append(room_id, user_id, request_id or token_urlsafe(12), text)
