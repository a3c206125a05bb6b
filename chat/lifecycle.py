"""What the server opens, in the order of `CONTEXTS`, and how it stops.

Each context needs only those before it; they close in reverse. Before that, writes in flight are answered and the
websockets are closed.
"""

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import NamedTuple

from aiohttp import web

from chat.aio import background_task
from chat.auth.passwords import Passwords
from chat.auth.tokens import Tokens
from chat.bots.stock_bot import stock_bot
from chat.broker.factory import make_broker
from chat.db import migrations
from chat.db.errors import DatabaseError, StatementFailed, Unreachable
from chat.db.pool import Database
from chat.domain.rooms import RoomDirectory, RoomListLoader
from chat.domain.slash_commands import SlashCommands
from chat.errors import OperatorError, OutcomeUnknown, Unavailable
from chat.eventlog import writer
from chat.eventlog.notifier import Notifier
from chat.eventlog.reader import EventReader
from chat.eventlog.writer import EventWriter
from chat.http import app_keys
from chat.realtime.connection import Backend
from chat.realtime.hub import Hub
from chat.realtime.keepalive import keepalive
from chat.realtime.latest_messages import LatestMessages
from chat.realtime.relay import Relay

log = logging.getLogger(__name__)

EXPIRE_INTERVAL_S = 0.25  # how often overdue commands are looked for; their authors wait for it
RELAY_CONNECTIONS = 2  # for the poll and a gap fill


class _Migration(NamedTuple):
    migration_id: str


class StartupError(OperatorError):
    """The server cannot start; the text says what to do."""


async def database_context(app: web.Application) -> AsyncIterator[None]:
    """The pool for everything but the event writer and the relay. Waits for PostgreSQL at the start."""
    settings = app[app_keys.SETTINGS]
    db = app[app_keys.DB] = Database(settings.database_url, size=settings.db_pool_size, name="api")
    await _wait_for_database(db, settings.db_startup_timeout_s)
    try:
        await _check_schema(db)
        app[app_keys.READER] = EventReader(db)
        app[app_keys.ROOMS] = RoomDirectory(db)
        yield
    finally:
        await db.close()


async def auth_context(app: web.Application) -> AsyncIterator[None]:
    """The hashing threads, and the tokens of the database's epoch."""
    settings = app[app_keys.SETTINGS]
    passwords = app[app_keys.PASSWORDS] = Passwords(
        threads=settings.hash_threads, queue_timeout_s=settings.hash_queue_timeout_s
    )
    epoch = await app[app_keys.DB].fetch_value("epoch/get", str)
    assert epoch is not None  # a migration inserts it
    app[app_keys.TOKENS] = Tokens(settings.jwt_secret, ttl_s=settings.access_token_ttl_s, epoch=epoch)
    yield
    passwords.close()


async def event_writer_context(app: web.Application) -> AsyncIterator[None]:
    """The event writer, with connections of its own, the notifier that it calls, and the broker (not open yet)."""
    settings = app[app_keys.SETTINGS]
    broker = app[app_keys.BROKER] = make_broker(settings.amqp_url, prefix=settings.amqp_prefix)
    notifier = app[app_keys.NOTIFIER] = Notifier(broker)
    db = Database(settings.database_url, size=writer.CONNECTIONS, name="writer")
    await db.open()
    event_writer = app[app_keys.WRITER] = EventWriter(
        db, notifier, timeout_s=settings.write_timeout_s, queue_limit=settings.write_queue_limit
    )
    event_writer.open()
    yield
    await event_writer.close()
    await db.close()


async def slash_commands_context(app: web.Application) -> AsyncIterator[None]:
    """Slash commands, and the deadline of those that no bot answers."""
    settings = app[app_keys.SETTINGS]
    commands = app[app_keys.SLASH_COMMANDS] = SlashCommands(
        app[app_keys.DB],
        app[app_keys.WRITER],
        app[app_keys.BROKER],
        app[app_keys.NOTIFIER],
        timeout_s=settings.command_timeout_s,
        write_timeout_s=settings.write_timeout_s,
    )

    async def expire_forever() -> None:
        while True:
            try:
                await commands.expire()
            except (Unavailable, OutcomeUnknown):
                pass  # the relay logs the outage
            except DatabaseError as error:
                if not error.is_outage:
                    raise
            await asyncio.sleep(EXPIRE_INTERVAL_S)

    async with background_task(expire_forever):
        yield


async def realtime_context(app: web.Application) -> AsyncIterator[None]:
    """The hub, the relay that follows the log for it, the memory of live rooms, and the keepalive."""
    settings, notifier, tokens = app[app_keys.SETTINGS], app[app_keys.NOTIFIER], app[app_keys.TOKENS]
    db = Database(settings.database_url, size=RELAY_CONNECTIONS, name="relay")
    await db.open()
    hub = Hub()
    relay = Relay(db, notifier, hub, tokens)
    app[app_keys.LATEST_MESSAGES] = LatestMessages(app[app_keys.DB], app[app_keys.READER], hub, tokens)
    backend = app[app_keys.BACKEND] = Backend(
        settings=settings,
        db=app[app_keys.DB],
        tokens=tokens,
        notifier=notifier,
        writer=app[app_keys.WRITER],
        reader=app[app_keys.READER],
        room_lists=RoomListLoader(app[app_keys.DB]),
        slash_commands=app[app_keys.SLASH_COMMANDS],
        hub=hub,
        relay=relay,
    )

    async def keep_alive() -> None:
        await keepalive(backend.connections, interval_s=settings.ping_interval_s, timeout_s=settings.ping_timeout_s)

    async with background_task(relay.run), background_task(keep_alive):
        yield
    await db.close()


async def broker_context(app: web.Application) -> AsyncIterator[None]:
    """Opens the broker last, when every subscriber and consumer is known. With memory: the bot runs here, too."""
    broker, settings = app[app_keys.BROKER], app[app_keys.SETTINGS]
    if settings.uses_memory_broker:
        async with stock_bot(broker, settings):
            await broker.open()
            yield
            await broker.close()
    else:
        await broker.open()
        yield
        await broker.close()


CONTEXTS = [
    database_context,
    auth_context,
    event_writer_context,
    slash_commands_context,
    realtime_context,
    broker_context,
]


async def disconnect_clients(app: web.Application) -> None:
    """Answer the writes in flight, then close the websockets, spread over a second."""
    app[app_keys.STATE].stopping = True
    await app[app_keys.WRITER].close()
    connections = list(app[app_keys.BACKEND].connections)
    log.info("stopping; %d websockets are closed, their clients come back by themselves", len(connections))
    await asyncio.gather(*(connection.stop() for connection in connections))


async def _wait_for_database(db: Database, timeout_s: float) -> None:
    loop = asyncio.get_running_loop()
    deadline = loop.time() + timeout_s
    while True:
        try:
            return await db.open()
        except Unreachable as error:
            left = deadline - loop.time()
            if left <= 0:
                why = " ".join(str(error.__cause__).split())
                raise StartupError(
                    f"PostgreSQL cannot be reached ({why}); check DATABASE_URL, or run `make services`"
                ) from None
            log.warning("waiting for PostgreSQL, %.0f s left", left)
        await asyncio.sleep(1)


async def _check_schema(db: Database) -> None:
    try:
        applied = [row.migration_id for row in await db.fetch_all("schema/list_applied", _Migration)]
    except StatementFailed as error:
        if error.sqlstate != "42P01":  # no such table
            raise
        applied = []
    if mismatch := migrations.describe_mismatch(applied):
        raise StartupError(mismatch)
