"""The REST edge: reads what came, asks the domain, writes the answer. app.py has the table of addresses."""

import asyncio
from typing import Any, TypeVar

import msgspec
from aiohttp import web
from msgspec import Struct

from chat import keys, messages, rooms, users
from chat.commands import is_command
from chat.errors import BadRequest, NotFound, RequestTimeout, UnsupportedMediaType
from chat.protocol import BIGINT, ClientId, check_client_id, clean_text, encode, event_array, event_frame, number, read
from chat.rooms import Room
from chat.security import Identity
from chat.users import User

T = TypeVar("T")

MESSAGES = (50, 200)  # how many by default, and at most
EVENTS = (200, 1000)
MEMBERS = (200, 1000)


class SignUp(Struct):
    """POST /v1/auth/signup"""

    username: str
    email: str
    password: str


class LogIn(Struct):
    """POST /v1/auth/login"""

    email: str
    password: str


class NewRoom(Struct):
    """POST /v1/chat/rooms"""

    name: str
    topic: str = ""


class NewMessage(Struct):
    """POST /v1/chat/rooms/:id/messages"""

    chatmessage: str
    clientId: ClientId | None = None


# --- accounts -----------------------------------------------------------------------------------------


async def sign_up(request: web.Request) -> web.Response:
    """201: a new account and its token."""
    asked = await _body(request, SignUp)
    user = await users.sign_up(
        request.app[keys.DB], request.app[keys.PASSWORDS], asked.username, asked.email, asked.password
    )
    return _json(_session(request, user), status=201)


async def log_in(request: web.Request) -> web.Response:
    """200: a new token."""
    asked = await _body(request, LogIn)
    user = await users.log_in(request.app[keys.DB], request.app[keys.PASSWORDS], asked.email, asked.password)
    return _json(_session(request, user))


async def me(request: web.Request, who: Identity) -> web.Response:
    """200: the user that the token belongs to."""
    return _json(_user(await users.get(request.app[keys.DB], who.user_id)))


# --- rooms --------------------------------------------------------------------------------------------


async def list_rooms(request: web.Request, who: Identity) -> web.Response:
    """200: the rooms that the user may read, by id."""
    return _json([_room(room) for room in await rooms.visible(request.app[keys.DB], who.user_id)])


async def create_room(request: web.Request, who: Identity) -> web.Response:
    """201: a new public room."""
    asked = await _body(request, NewRoom)
    room = await rooms.create(request.app[keys.JOURNAL], who.user_id, asked.name, asked.topic)
    return _json(_room(room), status=201)


async def get_room(request: web.Request, who: Identity) -> web.Response:
    """200: one room."""
    return _json(_room(await rooms.get(request.app[keys.DB], who.user_id, _room_id(request))))


async def list_members(request: web.Request, who: Identity) -> web.Response:
    """200: who is in the room, by user id."""
    found = await rooms.members(
        request.app[keys.DB],
        who.user_id,
        _room_id(request),
        after=_number(request, "after") or 0,
        most=_limit(request, MEMBERS),
    )
    return _json([_member(row) for row in found])


async def join_room(request: web.Request, who: Identity) -> web.Response:
    """204: a member now, or before."""
    await rooms.join(request.app[keys.JOURNAL], who.user_id, _room_id(request))
    return web.Response(status=204)


async def leave_room(request: web.Request, who: Identity) -> web.Response:
    """204: no member any more."""
    await rooms.leave(request.app[keys.JOURNAL], who.user_id, _room_id(request))
    return web.Response(status=204)


# --- messages -----------------------------------------------------------------------------------------


async def list_messages(request: web.Request, who: Identity) -> web.Response:
    """200: messages, oldest first; the latest 50 unless asked otherwise."""
    page = await request.app[keys.HISTORY].page(
        who.user_id,
        _room_id(request),
        before=_number(request, "before"),
        after=_number(request, "after"),
        most=_limit(request, MESSAGES),
    )
    return _array(page)


async def list_events(request: web.Request, who: Identity) -> web.Response:
    """200: every event after a number, dense: what repairs a gap."""
    _, found = await request.app[keys.HISTORY].events(
        who.user_id,
        _room_id(request),
        after=_number(request, "after") or 0,
        most=_limit(request, EVENTS),
    )
    return _array(event_array(found))


async def post_message(request: web.Request, who: Identity) -> web.Response:
    """201: the event, `duplicate` if it was there before; 202 for a command, which is not an event."""
    asked = await _body(request, NewMessage)
    room_id = _room_id(request)
    check_client_id(asked.clientId)
    text = clean_text(asked.chatmessage)
    if is_command(text):
        duplicate = await request.app[keys.COMMANDS].ask(who, room_id, text, asked.clientId)
        accepted = {"chatroomId": room_id, "chatmessage": text, "duplicate": duplicate}
        return _json(accepted | ({"clientId": asked.clientId} if asked.clientId else {}), status=202)
    answer = await messages.post(request.app[keys.JOURNAL], who.user_id, room_id, text, asked.clientId)
    assert answer.event is not None
    # The event's own bytes, with one field more.
    body = event_frame(answer.event)[:-1] + (b',"duplicate":true}' if answer.duplicate else b',"duplicate":false}')
    return web.Response(status=201, body=body, content_type="application/json")


# --- health -------------------------------------------------------------------------------------------

READY_S = 2.0


async def live(request: web.Request) -> web.Response:
    """200: the process runs."""
    return _json({"status": "ok"})


async def ready(request: web.Request) -> web.Response:
    """200: it can work, perhaps `degraded` (without the broker); 503: it cannot, or is stopping."""
    try:
        await asyncio.wait_for(request.app[keys.DB].value("epoch/current"), READY_S)
        database = "ok"
    except Exception:
        database = "unavailable"
    broker = "ok" if request.app[keys.BROKER].up else "unavailable"
    stopping = request.app[keys.STATE].stopping
    status = "ok" if broker == "ok" else "degraded"
    if database != "ok":
        status = "unavailable"
    if stopping:
        status = "stopping"
    facts = {"status": status, "database": database, "broker": broker}
    return _json(facts, status=200 if status in ("ok", "degraded") else 503)


# --- what comes in ------------------------------------------------------------------------------------


async def _body(request: web.Request, kind: type[T]) -> T:
    """The JSON body as a struct. Raises `BadRequest`, `TooLarge`, `RequestTimeout`, `UnsupportedMediaType`."""
    if request.content_type != "application/json":
        raise UnsupportedMediaType("the body has to be JSON: Content-Type: application/json")
    try:
        body = await asyncio.wait_for(request.read(), request.app[keys.SETTINGS].body_timeout_s)
    except TimeoutError:
        raise RequestTimeout("the body did not arrive in time") from None
    decoder = msgspec.json.Decoder(kind)
    return read(decoder.decode, body)


def _room_id(request: web.Request) -> int:
    room_id = int(request.match_info["room_id"])
    if room_id > BIGINT:
        raise NotFound("there is no such room")
    return room_id


def _number(request: web.Request, name: str, least: int = 0, most: int = BIGINT) -> int | None:
    text = request.query.get(name)
    if text is None:
        return None
    try:
        found = number(text)
    except BadRequest:
        found = -1
    if not least <= found <= most:
        raise BadRequest(f"{name} has to be a whole number from {least} to {most}")
    return found


def _limit(request: web.Request, bounds: tuple[int, int]) -> int:
    default, most = bounds
    return _number(request, "limit", 1, most) or default


# --- what goes out ------------------------------------------------------------------------------------


def _json(value: Any, status: int = 200) -> web.Response:
    return web.Response(status=status, body=encode(value), content_type="application/json")


def _array(body: bytes) -> web.Response:
    """Events, each byte for byte as the sockets get it."""
    return web.Response(body=body, content_type="application/json")


def _session(request: web.Request, user: User) -> dict[str, Any]:
    token, expires_at = request.app[keys.TOKENS].issue(user.id, user.username, user.email)
    return {"token": token, "expiresAt": expires_at, "user": _user(user)}


def _user(user: User) -> dict[str, Any]:
    return {"id": user.id, "username": user.username, "email": user.email, "createdAt": user.created_at}


def _room(room: Room) -> dict[str, Any]:
    return {
        "id": room.id,
        "name": room.name,
        "kind": room.kind,
        "topic": room.topic,
        "createdAt": room.created_at,
        "members": room.members,
        "member": room.member,
        "lastSeq": room.last_seq,
        "lastMessageNo": room.last_message_no,
        "readMessageNo": room.read_message_no,
    }


def _member(row: Any) -> dict[str, Any]:
    return {
        "userId": row.user_id,
        "username": row.username,
        "role": row.role,
        "isBot": row.is_bot,
        "joinedAt": row.joined_at,
    }
