"""What hangs on the application, each under a typed key."""

from dataclasses import dataclass

from aiohttp import web

from chat.auth.passwords import Passwords
from chat.auth.tokens import Tokens
from chat.broker.base import Broker
from chat.config import Settings
from chat.db.pool import Database
from chat.domain.rooms import RoomDirectory
from chat.domain.slash_commands import SlashCommands
from chat.eventlog.notifier import Notifier
from chat.eventlog.reader import EventReader
from chat.eventlog.writer import EventWriter
from chat.realtime.connection import Backend
from chat.realtime.latest_messages import LatestMessages
from chat.worker import Worker


@dataclass(slots=True)
class State:
    """What changes while the server runs. `stopping`: whether it no longer accepts connections."""

    stopping: bool = False


SETTINGS = web.AppKey("SETTINGS", Settings)
STATE = web.AppKey("STATE", State)
WORKER = web.AppKey("WORKER", Worker)
DB = web.AppKey("DB", Database)
ROOMS = web.AppKey("ROOMS", RoomDirectory)
READER = web.AppKey("READER", EventReader)
BROKER = web.AppKey("BROKER", Broker)
NOTIFIER = web.AppKey("NOTIFIER", Notifier)
PASSWORDS = web.AppKey("PASSWORDS", Passwords)
TOKENS = web.AppKey("TOKENS", Tokens)
WRITER = web.AppKey("WRITER", EventWriter)
SLASH_COMMANDS = web.AppKey("SLASH_COMMANDS", SlashCommands)
LATEST_MESSAGES = web.AppKey("LATEST_MESSAGES", LatestMessages)
BACKEND = web.AppKey("BACKEND", Backend)
