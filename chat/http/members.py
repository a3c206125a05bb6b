"""Members of a room over REST."""

from aiohttp import web

from chat.auth.tokens import Identity
from chat.domain import members
from chat.http import app_keys
from chat.http.requests import PageLimit, int_query, page_limit, room_id
from chat.http.responses import json_response
from chat.protocol.schemas import MemberBody

MEMBERS_LIMIT = PageLimit(default=200, maximum=1000)


async def list_members(request: web.Request, identity: Identity) -> web.Response:
    """200: the members of the room, by user id."""
    found = await members.list_members(
        request.app[app_keys.DB],
        identity.user_id,
        room_id(request),
        after=int_query(request, "after") or 0,
        limit=page_limit(request, MEMBERS_LIMIT),
    )
    return json_response([MemberBody(*member) for member in found])


async def join_room(request: web.Request, identity: Identity) -> web.Response:
    """204: the user is a member, now or since before."""
    await members.join(request.app[app_keys.WRITER], identity.user_id, room_id(request))
    return web.Response(status=204)


async def leave_room(request: web.Request, identity: Identity) -> web.Response:
    """204: the user is not a member any more."""
    await members.leave(request.app[app_keys.WRITER], identity.user_id, room_id(request))
    return web.Response(status=204)
