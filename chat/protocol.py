"""The websocket language: one struct for each frame, and the rules for what people may write.

Pure: bytes in, structs out, structs in, bytes out. A frame is a JSON object whose integer `type` says
which struct it is. Field names are those of the wire, in its camelCase, so that each name has one spelling
from the socket to this page.

    client → server   1 message   11 resume   17 read
    server → client   1 message    5 member    6 room   10 hello   11 verdict   13 ack   14 error   17 read

The frames of an event (1, 5, 6) are made by `event_frame` and nowhere else: whoever sees an event, live,
replayed, repaired or over REST, sees the same bytes.
"""

import json
import re
import unicodedata
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Annotated, Any, NamedTuple, TypeVar

import msgspec
from msgspec import Meta, Struct

from chat.errors import BadRequest

MESSAGE, MEMBER, ROOM, READ = 1, 5, 6, 17  # frame types; the first three are also kinds of events

FRAME_BYTES = 64 * 1024  # of one incoming frame; 4,000 characters of 4 bytes, escaped, fit
MESSAGE_CHARS = 4_000
ROOM_NAME_CHARS = 100
TOPIC_CHARS = 400
UNANSWERED = 256  # writes of one socket on their way; then it is not read until some are answered

BIGINT = 2**63 - 1  # the largest of PostgreSQL
Number = Annotated[int, Meta(ge=0, le=BIGINT)]
ClientId = Annotated[str, Meta(min_length=8, max_length=64)]
T = TypeVar("T")


# --- what a client may send ---------------------------------------------------------------------------


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


# --- what the server sends ----------------------------------------------------------------------------


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


# --- events -------------------------------------------------------------------------------------------


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
    client_id: str | None
    created_at: datetime


def event_frame(event: Event) -> bytes:
    """The event's finished JSON. The only place that makes it."""
    room_id, seq, kind, user_id, username, email, body, message_no, data, client_id, at = event
    if kind == MESSAGE:
        return encode(MessageFrame(room_id, body or "", email, user_id, username, seq, message_no, client_id, at))
    facts = data or {}
    if kind == MEMBER:
        return encode(MemberFrame(room_id, seq, user_id, username, facts["action"], at, facts.get("room")))
    if kind == ROOM:
        return encode(RoomFrame(room_id, seq, facts["action"], facts["name"], facts["topic"], at))
    raise ValueError(f"no frame for events of kind {kind}")


def event_array(events: Iterable[Event]) -> bytes:
    """The events' finished JSON as an array."""
    return b"[" + b",".join(map(event_frame, events)) + b"]"


# What the broker carries for one event: room, seq (None: never stored), kind, user, frame. MessagePack, because
# a frame is finished JSON and passes through it as bytes.
Ring = tuple[int, int | None, int, int, bytes]

pack_rings: Callable[[list[Ring]], bytes] = msgspec.msgpack.Encoder().encode
unpack_rings: Callable[[bytes], list[Ring]] = msgspec.msgpack.Decoder(list[Ring]).decode


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


encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Incoming).decode


def decode(frame: bytes) -> Incoming:
    """The frame's struct. Raises `BadRequest`, whose text names the field."""
    message: Incoming = read(_decode, frame)
    return message


def read(decode: Callable[[bytes], T], data: bytes) -> T:
    """What a msgspec decoder makes of the data; what it cannot read becomes `BadRequest`."""
    try:
        return decode(data)
    except msgspec.ValidationError as error:
        raise BadRequest(str(error)) from None
    except UnicodeDecodeError:
        raise BadRequest("the text is not UTF-8") from None
    except msgspec.DecodeError as error:
        if _HALF_A_PAIR.search(_PAIRS.sub(b"", data)):
            raise BadRequest("the text has half of a surrogate pair, which is no character") from None
        raise BadRequest(f"the text is not JSON: {error}") from None
    except RecursionError:
        raise BadRequest("the JSON is nested too deeply") from None


_PAIRS = re.compile(rb"\\\\|\\u[dD][89abAB]..\\u[dD][c-fC-F]..")
_HALF_A_PAIR = re.compile(rb"\\u[dD][89a-fA-F]")


def echo_of(frame: bytes) -> tuple[str | None, int | None]:
    """clientId and chatroomId of a frame that could not be decoded, as far as they can be made out.

    So that the error reaches the right message even when that message is the error.
    """
    try:
        fields = json.loads(frame)  # unlike msgspec, it reads a frame with half a surrogate pair in it
        client_id, room_id = fields.get("clientId"), fields.get("chatroomId")
    except (ValueError, RecursionError, AttributeError):
        return None, None
    return (
        client_id if isinstance(client_id, str) and len(client_id) <= 64 and not _HALF.search(client_id) else None,
        room_id if type(room_id) is int and abs(room_id) < 2**63 else None,
    )


_HALF = re.compile("[\ud800-\udfff]")


def number(text: str) -> int:
    """A bigint of decimal digits, not negative. Raises `BadRequest`."""
    # isdecimal alone would take other scripts' digits, and int alone signs, blanks and underscores.
    if not (text.isascii() and text.isdecimal() and len(text) < 20 and int(text) <= BIGINT):
        raise BadRequest(f"a whole number from 0 to {BIGINT} is expected")
    return int(text)


# --- what people may write ----------------------------------------------------------------------------

_LINE_BREAKS = re.compile("\r\n?")
_FORBIDDEN = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\ud800-\udfff]")  # controls but \n; lone surrogates
_FORBIDDEN_IN_LINE = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
BLANK = "\u115f\u1160\u2800\u3164\uffa0"  # letters and a symbol by their category, but nobody sees them
_UNSEEN = {"Zs", "Zl", "Zp", "Cf", "Mn", "Me"}  # spaces, formats, and marks that need a letter


def clean_text(text: str) -> str:
    """A message as it is stored: line breaks as \\n, trimmed, 1 to 4,000 characters. Raises `BadRequest`."""
    return _clean(_LINE_BREAKS.sub("\n", text), "chatmessage", _FORBIDDEN, 1, MESSAGE_CHARS)


def clean_line(text: str, field: str, least: int, most: int) -> str:
    """A one-line text (a room's name or topic) as it is stored: trimmed, `least` to `most` characters, not all
    invisible. Raises `BadRequest`."""
    text = _clean(text, field, _FORBIDDEN_IN_LINE, least, most)
    if text and not any(map(_is_seen, text)):
        raise BadRequest(f"{field} has no character that can be seen")
    return text


def _is_seen(character: str) -> bool:
    return character not in BLANK and unicodedata.category(character) not in _UNSEEN


def check_client_id(client_id: str | None) -> None:
    """Raises `BadRequest` for a clientId with characters that PostgreSQL or a log line cannot hold."""
    if client_id is not None and (bad := _FORBIDDEN_IN_LINE.search(client_id)):
        raise BadRequest(f"clientId has the character U+{ord(bad[0]):04X}, which is not allowed")


def _clean(text: str, field: str, forbidden: re.Pattern[str], least: int, most: int) -> str:
    if bad := forbidden.search(text):  # before the trimming, which would take some of them off unsaid
        raise BadRequest(f"{field} has the character U+{ord(bad[0]):04X}, which is not allowed")
    text = text.strip()
    if not least <= len(text) <= most:
        raise BadRequest(f"{field} has {len(text)} characters; {least} to {most} are allowed")
    return text
