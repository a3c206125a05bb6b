"""What each frame of a client does: one function a frame, and the table of them.

A handler starts the work and returns a future, or None when the frame has no reply of its own. When the future is done
its result goes through `acknowledge`, in the order in which the frames came; an error becomes an error frame.
"""

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from chat.domain import messages, read_markers
from chat.domain.slash_commands import is_command
from chat.errors import BadRequest
from chat.eventlog.write_queue import WriteResult
from chat.protocol.codec import encode
from chat.protocol.frames import Ack, ClientFrame, ReadMarker, Resume, SendMessage
from chat.protocol.text import check_request_id, clean_text

if TYPE_CHECKING:
    from chat.realtime.connection import ClientConnection

Start = Callable[["ClientConnection", Any], "asyncio.Future[Any] | None"]
Acknowledge = Callable[["ClientConnection", Any, Any], bytes | None]


class FrameHandler(NamedTuple):
    """`start` begins the work; `acknowledge` makes the reply of its result, None for no reply."""

    start: Start
    acknowledge: Acknowledge


class Reply(NamedTuple):
    """A reply that is to come: for which frame, and how to make it."""

    frame: ClientFrame
    acknowledge: Acknowledge

    @property
    def request_id(self) -> str | None:
        """The frame's requestId."""
        return self.frame.request_id if isinstance(self.frame, SendMessage) else None


def send_message(connection: "ClientConnection", frame: SendMessage) -> "asyncio.Future[Any]":
    """Append a message, with a `WriteResult`; or hand a command to its bot, with whether that was done before."""
    check_request_id(frame.request_id)
    text = clean_text(frame.chatmessage)
    if is_command(text):
        return asyncio.ensure_future(_run_command(connection, frame, text))
    backend, user_id = connection.backend, connection.identity.user_id
    return messages.send_message(backend.writer, user_id, frame.chatroom_id, text, frame.request_id)


async def _run_command(connection: "ClientConnection", frame: SendMessage, line: str) -> bool:
    async with connection.command_lock:
        commands = connection.backend.slash_commands
        return await commands.run(connection.identity, frame.chatroom_id, line, frame.request_id)


def acknowledge_message(connection: "ClientConnection", frame: SendMessage, result: WriteResult | bool) -> bytes | None:
    """The ack, for clients of chat.v2 that gave a requestId."""
    if frame.request_id is None or not connection.speaks_v2:
        return None
    if isinstance(result, bool):  # a command, which is not in the log
        return encode(Ack(frame.request_id, frame.chatroom_id, duplicate=result))
    event = result.event
    assert event is not None
    return encode(Ack(frame.request_id, event.room_id, event.seq, event.message_no, event.created_at, result.duplicate))


def move_read_marker(connection: "ClientConnection", frame: ReadMarker) -> "asyncio.Future[None]":
    """Move the user's read marker, and tell the user's other connections in every process."""

    async def move() -> None:
        backend, user_id = connection.backend, connection.identity.user_id
        moved = await read_markers.mark_read(backend.db, user_id, frame.chatroom_id, frame.message_no)
        backend.notifier.notify([moved])

    return asyncio.ensure_future(move())


def resume(connection: "ClientConnection", frame: Resume) -> None:
    """Queue a resume; its reply comes when the room is live."""
    if not connection.speaks_v2:
        raise BadRequest("A resume needs the subprotocol chat.v2.")
    connection.resume(frame)


def no_reply(connection: "ClientConnection", frame: ClientFrame, result: None) -> None:
    """For frames that are answered by what happens."""


HANDLERS: dict[type[ClientFrame], FrameHandler] = {
    SendMessage: FrameHandler(send_message, acknowledge_message),
    Resume: FrameHandler(resume, no_reply),
    ReadMarker: FrameHandler(move_read_marker, no_reply),
}
