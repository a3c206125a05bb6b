"""The bodies of REST requests and answers, one struct each. Pure. Field names on the wire are camelCase.

Events are the exception: eventlog/event.py makes their bytes, the same everywhere.
"""

from datetime import datetime
from enum import Enum

import msgspec
from msgspec import Struct

from chat.protocol.codec import RequestId


class Body(Struct, rename="camel"):
    """The base of all bodies."""


# --- requests -----------------------------------------------------------------------------------------


class SignUp(Body):
    """POST /v1/auth/signup"""

    username: str
    email: str
    password: str


class LogIn(Body):
    """POST /v1/auth/login"""

    email: str
    password: str


class NewRoom(Body):
    """POST /v1/chat/rooms"""

    name: str
    topic: str = ""


class NewMessage(Body):
    """POST /v1/chat/rooms/:id/messages"""

    chatmessage: str
    request_id: RequestId | None = None


# --- answers ------------------------------------------------------------------------------------------


class UserBody(Body):
    """An account."""

    id: int
    username: str
    email: str
    created_at: datetime


class LoginBody(Body):
    """A token, when it expires, and whose it is."""

    token: str
    expires_at: datetime
    user: UserBody


class RoomBody(Body):
    """A room as one user sees it."""

    id: int
    name: str
    kind: str
    topic: str
    created_at: datetime
    member_count: int
    is_member: bool
    last_seq: int
    last_message_no: int
    read_message_no: int


class MemberBody(Body):
    """A member of a room."""

    user_id: int
    username: str
    role: str
    is_bot: bool
    joined_at: datetime


class AcceptedCommand(Body, omit_defaults=True):
    """A command that was handed to its bot. `duplicate`: whether it had been before."""

    chatroom_id: int
    chatmessage: str
    duplicate: bool
    request_id: str | None = None


class Liveness(Body):
    """The process runs."""

    status: str


class WorkerState(Enum):
    """What a worker does, as its supervisor knows it."""

    STARTING = "starting"
    LISTENING = "listening"
    RESTARTING = "restarting"  # it has ended, and is started again soon
    STOPPING = "stopping"


class WorkerBody(Body):
    """A server process, and how often it was started again."""

    number: int
    pid: int
    state: WorkerState
    restarts: int


decode_workers = msgspec.json.Decoder(list[WorkerBody]).decode


class Readiness(Body):
    """Whether the worker that answers can work: `ok`, `degraded` (without the broker), `unavailable`, `stopping`; its
    parts: `ok` or `unavailable`; its number; and all workers."""

    status: str
    database: str
    broker: str
    worker: int
    workers: list[WorkerBody]


class ErrorDetail(Body):
    """What went wrong: `code` for programs, `message` for people."""

    code: str
    message: str


class ErrorBody(Body):
    """The one form of errors."""

    error: ErrorDetail
