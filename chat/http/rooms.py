"""Rooms over REST."""

import re

from aiohttp import web

from chat.auth.tokens import Identity
from chat.domain import rooms
from chat.domain.rooms import RoomCursor
from chat.errors import BadRequest
from chat.http import app_keys
from chat.http.requests import PageLimit, page_limit, parse_body, room_id
from chat.http.responses import encoded_response, json_response
from chat.protocol.codec import MAX_BIGINT
from chat.protocol.schemas import NewRoom, RoomBody

ROOMS_LIMIT = PageLimit(default=1000, maximum=500)

_CURSOR = re.compile(r"(?:(own|other)-([0-9]{1,16})-)?([0-9]{1,19})", re.ASCII)


async def list_rooms(request: web.Request, identity: Identity) -> web.Response:
    """200: a page of the rooms that the user may read, the user's own first. A Link header leads to the next page."""
    limit = page_limit(request, ROOMS_LIMIT)
    page = await request.app[app_keys.ROOMS].list_page(identity.user_id, _cursor(request), limit)
    response = encoded_response(page.rooms)
    if page.next is not None:
        query = {"limit": str(limit)} if "limit" in request.query else {}
        address = request.rel_url.with_query(query | {"after": _cursor_text(page.next)})
        response.headers["Link"] = f'<{address}>; rel="next"'
    return response


async def create_room(request: web.Request, identity: Identity) -> web.Response:
    """201: a new public room."""
    body = await parse_body(request, NewRoom)
    room = await rooms.create(request.app[app_keys.WRITER], identity.user_id, body.name, body.topic)
    return json_response(RoomBody(*room), status=201)


async def get_room(request: web.Request, identity: Identity) -> web.Response:
    """200: one room."""
    room = await rooms.get(request.app[app_keys.DB], identity.user_id, room_id(request))
    return json_response(RoomBody(*room))


def _cursor(request: web.Request) -> RoomCursor:
    """Where the page begins: `after` as a Link header says it, or the id of a room. Raises `BadRequest`."""
    text = request.query.get("after")
    if text is None:
        return RoomCursor()
    found = _CURSOR.fullmatch(text)
    if found is None or int(found[3]) > MAX_BIGINT:
        raise BadRequest("after has to be the value of the Link header of the page before, or the id of a room.")
    part, began_us, room = found.groups()
    return RoomCursor(int(room)) if part is None else RoomCursor(int(room), part == "own", int(began_us))


def _cursor_text(cursor: RoomCursor) -> str:
    return f"{'own' if cursor.is_own else 'other'}-{cursor.began_us}-{cursor.room_id}"
