"""What processes tell one another through the broker. Pure.

MessagePack, because a frame is finished JSON and passes through it as bytes: no process opens it again.
"""

from collections.abc import Callable
from typing import NamedTuple

import msgspec


class Subject(NamedTuple):
    """A user whom an event makes a member of its room, or (False) whose membership it ends."""

    user_id: int
    is_member: bool


class Notification(NamedTuple):
    """Something that happened in a room.

    seq: the event's number; None if it is not in the log and is sent on without counting
    kind: the type of the frame
    frame: finished JSON
    subjects: whose membership changes; of a read marker, the one user to whom it is sent
    """

    room_id: int
    seq: int | None
    kind: int
    frame: bytes
    subjects: tuple[Subject, ...] = ()


encode_notifications: Callable[[list[Notification]], bytes] = msgspec.msgpack.Encoder().encode
decode_notifications: Callable[[bytes], list[Notification]] = msgspec.msgpack.Decoder(list[Notification]).decode
