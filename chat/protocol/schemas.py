"""The bodies of REST requests, one struct each. Pure."""

from msgspec import Struct

from chat.protocol.codec import ClientId


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
