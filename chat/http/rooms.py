"""Rooms over REST."""

from typing import Any

from aiohttp import web

from chat.auth.tokens import Identity
from chat.domain import rooms
from chat.domain.rooms import Room
from chat.http import app_keys as keys
from chat.http.requests import _body, _room_id
from chat.http.responses import _json
from chat.protocol.schemas import NewRoom


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
