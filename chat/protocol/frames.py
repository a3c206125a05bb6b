"""The websocket language: one struct for each frame, and the rules for what people may write.

Pure: bytes in, structs out, structs in, bytes out. A frame is a JSON object whose integer `type` says
which struct it is. Field names are those of the wire, in its camelCase, so that each name has one spelling
from the socket to this page.

    client → server   1 message   11 resume   17 read
    server → client   1 message    5 member    6 room   10 hello   11 verdict   13 ack   14 error   17 read

The frames of an event (1, 5, 6) are made by `event_frame` and nowhere else: whoever sees an event, live,
replayed, repaired or over REST, sees the same bytes.
"""

from datetime import datetime
from typing import Any

import msgspec
from msgspec import Struct

from chat.protocol.codec import ClientId, Number, encode, read

MESSAGE, MEMBER, ROOM, READ = 1, 5, 6, 17  # frame types; the first three are also kinds of events
FRAME_BYTES = 64 * 1024  # of one incoming frame; 4,000 characters of 4 bytes, escaped, fit
MESSAGE_CHARS = 4_000
ROOM_NAME_CHARS = 100
TOPIC_CHARS = 400
UNANSWERED = 256  # writes of one socket on their way; then it is not read until some are answered


class Post(Struct, tag=1, tag_field="type", frozen=True):
    """Say something in a room. `chatuser` of the original's clients is ignored: the token says who it is."""

    chatroomId: Number
    chatmessage: str
    clientId: ClientId | None = None


class Resume(Struct, tag=11, tag_field="type", frozen=True):
    """Make a room live for this socket, from the event after `after` on. `epoch` is the hello's."""

    chatroomId: Number
    after: Number
    epoch: str | None = None


class Read(Struct, tag=17, tag_field="type", frozen=True):
    """The user has read a room up to and including message `messageNo`. From the server: he has elsewhere."""

    chatroomId: Number
    messageNo: Number


Incoming = Post | Resume | Read


class MessageFrame(Struct, tag=1, tag_field="type", omit_defaults=True):
    """A message. One of a command's line has no seq, messageNo or createdAt: it is not in the log."""

    chatroomId: int
    chatmessage: str
    chatuser: str
    userId: int
    username: str
    seq: int | None = None
    messageNo: int | None = None
    clientId: str | None = None
    createdAt: datetime | None = None


class MemberFrame(Struct, tag=5, tag_field="type", omit_defaults=True):
    """Somebody has `joined` or `left`; a join names the room, for the sockets that did not know it."""

    chatroomId: int
    seq: int
    userId: int
    username: str
    action: str
    createdAt: datetime
    room: dict[str, Any] | None = None


class RoomFrame(Struct, tag=6, tag_field="type"):
    """A room was `created`."""

    chatroomId: int
    seq: int
    action: str
    name: str
    topic: str
    createdAt: datetime


class HelloFrame(Struct, tag=10, tag_field="type"):
    """The first frame of a socket: who it is, and what there is to resume."""

    user: dict[str, Any]
    connection: str
    epoch: str
    rooms: list[dict[str, Any]]
    limits: dict[str, Any]


class Verdict(Struct, tag=11, tag_field="type", rename={"from_": "from"}):
    """The answer to a resume, sent when the room is live from `to` + 1 on.

    `complete`: the events `from` to `to` were sent before this frame. Not complete: none of them was, page
    them from …/events; a `from` at or below the client's own seq says that his numbers are not this log's.
    """

    chatroomId: int
    from_: int
    to: int
    complete: bool


class Ack(Struct, tag=13, tag_field="type", omit_defaults=True):
    """It is stored, and stays so. A command's ack has no seq."""

    clientId: str
    chatroomId: int
    seq: int | None = None
    messageNo: int | None = None
    createdAt: datetime | None = None
    duplicate: bool | None = None


class ErrorFrame(Struct, tag=14, tag_field="type", omit_defaults=True):
    """It was not done, or nobody knows (`unknown`). `chatmessage` is for people."""

    code: str
    chatmessage: str
    clientId: str | None = None
    chatroomId: int | None = None
    retryMs: int | None = None
    chatuser: str = ""  # always "server", set by error_frame: a default would be omitted


def error_frame(
    code: str,
    text: str,
    *,
    client_id: str | None = None,
    room_id: int | None = None,
    retry_ms: int | None = None,
) -> bytes:
    """A finished frame of type 14."""
    return encode(ErrorFrame(code, text, client_id, room_id, retry_ms, "server"))


_decode = msgspec.json.Decoder(Incoming).decode


def decode(frame: bytes) -> Incoming:
    """The frame's struct. Raises `BadRequest`, whose text names the field."""
    message: Incoming = read(_decode, frame)
    return message
