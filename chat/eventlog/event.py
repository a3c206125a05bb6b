"""An event of a room's log, and its finished JSON. Pure."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any, NamedTuple

from chat.protocol.codec import encode
from chat.protocol.frames import MEMBER, MESSAGE, ROOM, MemberFrame, MessageFrame, RoomFrame


class Event(NamedTuple):
    """One row of the log with its author, in the order of the columns that every query of events returns."""

    room_id: int
    seq: int
    kind: int
    user_id: int
    username: str
    email: str
    body: str | None
    message_no: int | None
    data: dict[str, Any] | None
    request_id: str | None
    created_at: datetime


def event_frame(event: Event) -> bytes:
    """The event's finished JSON. The only place that makes it."""
    room_id, seq, kind, user_id, username, email, body, message_no, data, request_id, at = event
    if kind == MESSAGE:
        return encode(MessageFrame(room_id, body or "", email, user_id, username, seq, message_no, request_id, at))
    facts = data or {}
    if kind == MEMBER:
        return encode(MemberFrame(room_id, seq, user_id, username, facts["action"], at, facts.get("room")))
    if kind == ROOM:
        return encode(RoomFrame(room_id, seq, facts["action"], facts["name"], facts["topic"], at))
    raise ValueError(f"no frame for events of kind {kind}")


def event_array(events: Iterable[Event]) -> bytes:
    """The events' finished JSON as an array."""
    return b"[" + b",".join(map(event_frame, events)) + b"]"
