"""Rooms over REST."""

from aiohttp import web

from chat.auth.tokens import Identity
from chat.domain import rooms
from chat.http import app_keys
from chat.http.requests import parse_body, room_id
from chat.http.responses import json_response
from chat.protocol.schemas import NewRoom, RoomBody


async def list_rooms(request: web.Request, identity: Identity) -> web.Response:
    """200: the rooms that the user may read, by id."""
    found = await rooms.list_visible(request.app[app_keys.DB], identity.user_id)
    return json_response([RoomBody(*room) for room in found])


async def create_room(request: web.Request, identity: Identity) -> web.Response:
    """201: a new public room."""
    body = await parse_body(request, NewRoom)
    room = await rooms.create(request.app[app_keys.WRITER], identity.user_id, body.name, body.topic)
    return json_response(RoomBody(*room), status=201)


async def get_room(request: web.Request, identity: Identity) -> web.Response:
    """200: one room."""
    room = await rooms.get(request.app[app_keys.DB], identity.user_id, room_id(request))
    return json_response(RoomBody(*room))
