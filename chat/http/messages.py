"""Messages and events over REST."""

from aiohttp import web

from chat.auth.tokens import Identity
from chat.domain import messages
from chat.domain.slash_commands import is_command
from chat.eventlog.event import event_array, event_frame
from chat.http import app_keys as keys
from chat.http.requests import _body, _limit, _number, _room_id
from chat.http.responses import _array, _json
from chat.protocol.schemas import NewMessage
from chat.protocol.text import check_client_id, clean_text

MESSAGES = (50, 200)  # how many by default, and at most
EVENTS = (200, 1000)


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
