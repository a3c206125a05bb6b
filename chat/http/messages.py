"""Messages and events over REST."""

from aiohttp import web

from chat.auth.tokens import Identity
from chat.domain import messages
from chat.domain.slash_commands import is_command
from chat.eventlog.event import event_array, event_frame
from chat.http import app_keys
from chat.http.requests import PageLimit, int_query, page_limit, parse_body, request_id, room_id
from chat.http.responses import encoded_response, json_response
from chat.protocol.schemas import AcceptedCommand, NewMessage
from chat.protocol.text import check_request_id, clean_text

MESSAGES_LIMIT = PageLimit(default=50, maximum=200)
EVENTS_LIMIT = PageLimit(default=200, maximum=1000)


async def list_messages(request: web.Request, identity: Identity) -> web.Response:
    """200: messages, oldest first; the latest 50 unless asked otherwise."""
    room, limit = room_id(request), page_limit(request, MESSAGES_LIMIT)
    before, after = int_query(request, "before"), int_query(request, "after")
    if before is None and after is None:
        page = await request.app[app_keys.LATEST_MESSAGES].page(identity.user_id, room, limit=limit)
    else:
        reader = request.app[app_keys.READER]
        page = await reader.page(identity.user_id, room, before=before, after=after, limit=limit)
    return encoded_response(page)


async def list_events(request: web.Request, identity: Identity) -> web.Response:
    """200: every event after a number, dense: what closes a gap."""
    _, found = await request.app[app_keys.READER].events(
        identity.user_id,
        room_id(request),
        after=int_query(request, "after") or 0,
        limit=page_limit(request, EVENTS_LIMIT),
    )
    return encoded_response(event_array(found))


async def send_message(request: web.Request, identity: Identity) -> web.Response:
    """201: the event, `duplicate` if it was stored before; 202 for a command, which is not an event."""
    body = await parse_body(request, NewMessage)
    room, key = room_id(request), request_id(request, body.request_id)
    check_request_id(key)
    text = clean_text(body.chatmessage)
    if is_command(text):
        duplicate = await request.app[app_keys.SLASH_COMMANDS].run(identity, room, text, key)
        return json_response(AcceptedCommand(room, text, duplicate, key), status=202)
    result = await messages.send_message(request.app[app_keys.WRITER], identity.user_id, room, text, key)
    assert result.event is not None
    # The event's own bytes, with one field more.
    duplicate_field = b',"duplicate":true}' if result.duplicate else b',"duplicate":false}'
    return encoded_response(event_frame(result.event)[:-1] + duplicate_field, status=201)
