"""An event of a room's log: its row, its finished JSON, and whom it makes a member. Pure."""

from collections.abc import Iterable
from datetime import datetime
from enum import IntEnum
from typing import Any, NamedTuple

from chat.protocol.codec import encode
from chat.protocol.frames import FrameType, MemberFrame, MemberRoom, MessageFrame, RoomFrame
from chat.protocol.notifications import Notification, Subject


class EventKind(IntEnum):
    """The kinds of events, as numbers in the database: each is the type of the frame that shows it."""

    MESSAGE = FrameType.MESSAGE
    MEMBER = FrameType.MEMBER
    ROOM = FrameType.ROOM


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
    if kind == EventKind.MESSAGE:
        return encode(MessageFrame(room_id, body or "", email, user_id, username, seq, message_no, request_id, at))
    facts = data or {}
    if kind == EventKind.MEMBER:
        room = MemberRoom(**facts["room"]) if "room" in facts else None
        return encode(MemberFrame(room_id, seq, user_id, username, facts["action"], at, room))
    if kind == EventKind.ROOM:
        return encode(RoomFrame(room_id, seq, facts["action"], facts["name"], facts["topic"], at))
    raise ValueError(f"no frame for events of kind {kind}")


def event_subjects(event: Event) -> tuple[Subject, ...]:
    """Whom the event makes a member of its room, and whose membership it ends. A function of the row alone."""
    if event.kind == EventKind.MEMBER:
        return (Subject(event.user_id, (event.data or {})["action"] == "joined"),)
    if event.kind == EventKind.ROOM and event.seq == 1:  # a room is created with its owner in it
        return (Subject(event.user_id, True),)
    return ()


def event_notification(event: Event) -> Notification:
    """The event as processes tell it to one another, and as the hub takes it."""
    return Notification(event.room_id, event.seq, event.kind, event_frame(event), event_subjects(event))


def event_array(events: Iterable[Event]) -> bytes:
    """The events' finished JSON as an array."""
    return frame_array(map(event_frame, events))


def frame_array(frames: Iterable[bytes]) -> bytes:
    """Finished JSON of events as an array."""
    return b"[" + b",".join(frames) + b"]"
