"""What hangs on the application, each under a typed key."""

from dataclasses import dataclass, field
from typing import Protocol

from aiohttp import web

from chat.broker import Broker
from chat.commands import Commands
from chat.config import Settings
from chat.db import Database
from chat.hub import Hub
from chat.journal import Journal
from chat.security import Passwords, Tokens


class Session(Protocol):
    """A websocket that can be told to end."""

    async def stop(self) -> None:
        """Ends it in good order: come back and resume."""


@dataclass(slots=True)
class State:
    """What changes while the server runs: whether it is on its way out, and who is connected."""

    stopping: bool = False
    sessions: set[Session] = field(default_factory=set)


SETTINGS = web.AppKey("SETTINGS", Settings)
STATE = web.AppKey("STATE", State)
DB = web.AppKey("DB", Database)
BROKER = web.AppKey("BROKER", Broker)
PASSWORDS = web.AppKey("PASSWORDS", Passwords)
TOKENS = web.AppKey("TOKENS", Tokens)
JOURNAL = web.AppKey("JOURNAL", Journal)
COMMANDS = web.AppKey("COMMANDS", Commands)
HUB = web.AppKey("HUB", Hub)
