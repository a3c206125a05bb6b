"""What hangs on the application, each under a typed key."""

from dataclasses import dataclass, field
from typing import Protocol

from aiohttp import web

from chat.auth.passwords import Passwords
from chat.auth.tokens import Tokens
from chat.broker.base import Broker
from chat.config import Settings
from chat.db.pool import Database
from chat.domain.rooms import Joined
from chat.domain.slash_commands import Commands
from chat.eventlog.reader import History
from chat.eventlog.writer import Journal
from chat.realtime.hub import Hub


class Session(Protocol):
    """A websocket."""

    def beat(self, patience_s: float) -> None:
        """Pings a silent peer; cuts one that has not answered for so long."""

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
HISTORY = web.AppKey("HISTORY", History)
JOINED = web.AppKey("JOINED", Joined)
BROKER = web.AppKey("BROKER", Broker)
PASSWORDS = web.AppKey("PASSWORDS", Passwords)
TOKENS = web.AppKey("TOKENS", Tokens)
JOURNAL = web.AppKey("JOURNAL", Journal)
COMMANDS = web.AppKey("COMMANDS", Commands)
HUB = web.AppKey("HUB", Hub)
