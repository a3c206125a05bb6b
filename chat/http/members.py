"""Members of a room over REST."""

from typing import Any

from aiohttp import web

from chat.auth.tokens import Identity
from chat.domain import members
from chat.http import app_keys as keys
from chat.http.requests import _limit, _number, _room_id
from chat.http.responses import _json

MEMBERS = (200, 1000)


async def list_members(request: web.Request, who: Identity) -> web.Response:
    """200: who is in the room, by user id."""
    found = await members.members(
        request.app[keys.DB],
        who.user_id,
        _room_id(request),
        after=_number(request, "after") or 0,
        most=_limit(request, MEMBERS),
    )
    return _json([_member(row) for row in found])


async def join_room(request: web.Request, who: Identity) -> web.Response:
    """204: a member now, or before."""
    await members.join(request.app[keys.JOURNAL], who.user_id, _room_id(request))
    return web.Response(status=204)


async def leave_room(request: web.Request, who: Identity) -> web.Response:
    """204: no member any more."""
    await members.leave(request.app[keys.JOURNAL], who.user_id, _room_id(request))
    return web.Response(status=204)


def _member(row: Any) -> dict[str, Any]:
    return {
        "userId": row.user_id,
        "username": row.username,
        "role": row.role,
        "isBot": row.is_bot,
        "joinedAt": row.joined_at,
    }
