"""Every address of the server, in one table."""

from aiohttp import web

from chat.http import accounts, health, members, messages, rooms, static_files, websocket
from chat.http.authentication import signed_in

ROOM = r"/v1/chat/rooms/{room_id:[0-9]{1,19}}"
ROUTES = [
    web.post("/v1/auth/signup", accounts.sign_up),
    web.post("/v1/auth/login", accounts.log_in),
    web.get("/v1/users/me", signed_in(accounts.get_me)),
    web.get("/v1/chat/rooms", signed_in(rooms.list_rooms)),
    web.post("/v1/chat/rooms", signed_in(rooms.create_room)),
    web.get(ROOM, signed_in(rooms.get_room)),
    web.get(ROOM + "/members", signed_in(members.list_members)),
    web.put(ROOM + "/members/me", signed_in(members.join_room)),
    web.delete(ROOM + "/members/me", signed_in(members.leave_room)),
    web.get(r"/v1/api/chat/rooms/{room_id:[0-9]{1,19}}/messages", signed_in(messages.list_messages)),
    web.get(ROOM + "/messages", signed_in(messages.list_messages)),
    web.post(ROOM + "/messages", signed_in(messages.send_message)),
    web.get(ROOM + "/events", signed_in(messages.list_events)),
    web.get("/v1/ws", websocket.websocket, allow_head=False),  # its own guard: the token may be in four places
    web.get("/health/live", health.live),
    web.get("/health/ready", health.ready),
    web.get("/", static_files.index),
    web.get("/web/{name}", static_files.static),
]
