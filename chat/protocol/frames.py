"""The frames of a websocket, one struct each. Pure: bytes in, structs out; structs in, bytes out.

A frame is a JSON object whose integer `type` says which struct it is. Field names on the wire are camelCase.

    client → server   1 message   11 resume   17 read marker
    server → client   1 message    5 member    6 room   10 hello   11 resumed   13 ack   14 error   17 read marker

eventlog/event.py makes the frames of events (1, 5, 6), so that an event has the same bytes live, replayed, repaired and
over REST.
"""

from datetime import datetime
from enum import IntEnum

import msgspec
from msgspec import Struct

from chat.protocol.codec import BigInt, FinishedJson, RequestId, decode_with, encode

MAX_FRAME_BYTES = 64 * 1024  # of one incoming frame; 4,000 characters of 4 bytes, escaped, fit
MAX_IN_FLIGHT_WRITES = 256  # unanswered writes of one connection; then it is not read until some are answered


class FrameType(IntEnum):
    """The `type` of a frame. Those of events are also the kinds of the log: see `EventKind`."""

    MESSAGE = 1
    MEMBER = 5
    ROOM = 6
    HELLO = 10
    RESUME = 11
    ACK = 13
    ERROR = 14
    READ_MARKER = 17


class Frame(Struct, rename="camel", omit_defaults=True):
    """The base of all frames. A field that has its default is left out."""


# --- from the client ----------------------------------------------------------------------------------


class SendMessage(Frame, tag=FrameType.MESSAGE.value):
    """Send a message to a room. The `chatuser` of the original's clients is ignored: the token names the author."""

    chatroom_id: BigInt
    chatmessage: str
    request_id: RequestId | None = None


class Resume(Frame, tag=FrameType.RESUME.value):
    """Make a room live for this connection, beginning after the event `after`. `epoch` is the hello's."""

    chatroom_id: BigInt
    after: BigInt
    epoch: str | None = None


class ReadMarker(Frame, tag=FrameType.READ_MARKER.value):
    """The user has read a room up to and including message `message_no`.

    From the server: the user moved the marker on another connection.
    """

    chatroom_id: BigInt
    message_no: BigInt


ClientFrame = SendMessage | Resume | ReadMarker


# --- from the server ----------------------------------------------------------------------------------


class MessageFrame(Frame, tag=FrameType.MESSAGE.value):
    """A message. The line of a command has no seq, message_no and created_at, because it is not in the log."""

    chatroom_id: int
    chatmessage: str
    chatuser: str
    user_id: int
    username: str
    seq: int | None = None
    message_no: int | None = None
    request_id: str | None = None
    created_at: datetime | None = None


class MemberRoom(Struct, rename="camel"):
    """The room that a user has joined."""

    id: int
    name: str
    kind: str
    topic: str


class MemberFrame(Frame, tag=FrameType.MEMBER.value):
    """The user has `joined` or `left`. A join describes the room, for the connections that did not know it."""

    chatroom_id: int
    seq: int
    user_id: int
    username: str
    action: str
    created_at: datetime
    room: MemberRoom | None = None


class RoomFrame(Frame, tag=FrameType.ROOM.value):
    """A room was `created`."""

    chatroom_id: int
    seq: int
    action: str
    name: str
    topic: str
    created_at: datetime


class HelloUser(Struct, rename="camel"):
    """The user of a connection."""

    id: int
    username: str
    email: str


class HelloRoom(Struct, rename="camel"):
    """A room of the user, with its last numbers and the user's read marker."""

    chatroom_id: int
    name: str
    seq: int
    message_no: int
    read_message_no: int


class HelloLimits(Struct, rename="camel"):
    """What the server allows a connection. Bytes, characters, frames a second, counts."""

    frame_bytes: int
    message_chars: int
    messages_per_s: float
    unanswered: int
    resume_events: int


class HelloFrame(Frame, tag=FrameType.HELLO.value):
    """The first frame of a connection: its user, and the rooms that can be resumed."""

    user: HelloUser
    connection: str
    epoch: str
    rooms: list[HelloRoom] | FinishedJson  # the server has them as finished JSON
    limits: HelloLimits


class Resumed(
    Struct, tag=FrameType.RESUME.value, tag_field="type", rename={"chatroom_id": "chatroomId", "from_": "from"}
):
    """The answer to a resume, sent when the room is live from `to` + 1 on.

    complete: the events `from_` to `to` were sent before this frame. If false, none of them was: the client reads them
    over REST. A `from_` at or below the client's own seq says that its numbers are not those of this log.
    """

    chatroom_id: int
    from_: int
    to: int
    complete: bool


class Ack(Frame, tag=FrameType.ACK.value):
    """The write is stored and stays so. The ack of a command has no seq."""

    request_id: str
    chatroom_id: int
    seq: int | None = None
    message_no: int | None = None
    created_at: datetime | None = None
    duplicate: bool | None = None


class ErrorFrame(Frame, tag=FrameType.ERROR.value):
    """The request was not carried out, or perhaps (`unknown`). `chatmessage` is the text for people."""

    code: str
    chatmessage: str
    request_id: str | None = None
    chatroom_id: int | None = None
    retry_ms: int | None = None
    chatuser: str = ""  # always "server", set by error_frame: a default would be left out


def error_frame(
    code: str,
    text: str,
    *,
    request_id: str | None = None,
    room_id: int | None = None,
    retry_ms: int | None = None,
) -> bytes:
    """A finished error frame."""
    return encode(ErrorFrame(code, text, request_id, room_id, retry_ms, "server"))


_decode = msgspec.json.Decoder(ClientFrame).decode


def decode(frame: bytes) -> ClientFrame:
    """Decode a client's frame. Raises `BadRequest`, whose text names the field."""
    message: ClientFrame = decode_with(_decode, frame)
    return message
