"""What the server opens, in the order of `CONTEXTS`, and how it stops.

Each context needs only those before it; they close in reverse. The websockets are told before all that.
"""

import asyncio
import logging
from collections.abc import AsyncIterator
from functools import partial

from aiohttp import web

from chat.aio import background_task
from chat.auth.passwords import Passwords
from chat.auth.tokens import Tokens
from chat.bots import stock_bot as bot
from chat.broker.factory import make_broker
from chat.db import migrations as schema
from chat.db.errors import DatabaseError, StatementFailed, Unreachable
from chat.db.pool import Database
from chat.domain.rooms import Joined
from chat.domain.slash_commands import Commands
from chat.errors import OperatorError, OutcomeUnknown, Unavailable
from chat.eventlog import writer as journal
from chat.eventlog.reader import History
from chat.eventlog.writer import Journal
from chat.http import app_keys as keys
from chat.realtime import keepalive as ws
from chat.realtime.hub import Hub
from chat.realtime.relay import Relay

log = logging.getLogger(__name__)

EXPIRE_S = 1.0  # how often commands without an answer are looked for
RELAY_CONNECTIONS = 2  # the sweep and a repair


class StartupError(OperatorError):
    """The server cannot start; the text says what to do."""


async def database(app: web.Application) -> AsyncIterator[None]:
    """The pool for everything but the journal and the relay; waits for PostgreSQL at the start."""
    settings = app[keys.SETTINGS]
    db = app[keys.DB] = Database(settings.database_url, size=settings.db_connections, name="api")
    await _wait_for(db, settings.startup_wait_s)
    try:
        await _check_schema(db)
        app[keys.HISTORY], app[keys.JOINED] = History(db), Joined(db)
        yield
    finally:
        await db.close()


async def security(app: web.Application) -> AsyncIterator[None]:
    """Password threads, and the tokens of the database's epoch."""
    settings = app[keys.SETTINGS]
    passwords = app[keys.PASSWORDS] = Passwords(threads=settings.password_threads, wait_s=settings.password_wait_s)
    epoch = await app[keys.DB].value("epoch/current")
    app[keys.TOKENS] = Tokens(settings.jwt_secret, ttl_hours=settings.jwt_ttl_hours, epoch=epoch)
    yield
    passwords.close()


async def the_journal(app: web.Application) -> AsyncIterator[None]:
    """The one writer, with connections of its own."""
    settings = app[keys.SETTINGS]
    app[keys.BROKER] = make_broker(
        settings.amqp_url, prefix=settings.amqp_prefix, durable=settings.robot_queues_durable
    )
    db = Database(settings.database_url, size=journal.CONNECTIONS, name="journal")
    await db.open()
    writer = app[keys.JOURNAL] = Journal(
        db, app[keys.BROKER], timeout_s=settings.write_timeout_s, rows=settings.journal_rows
    )
    writer.open()
    yield
    await writer.close()
    await db.close()


async def relay(app: web.Application) -> AsyncIterator[None]:
    """From the broker and the log to the sockets."""
    app[keys.HUB] = Hub()
    db = Database(app[keys.SETTINGS].database_url, size=RELAY_CONNECTIONS, name="relay")
    await db.open()
    sweeper = Relay(db, app[keys.BROKER], app[keys.HUB], app[keys.TOKENS])
    async with background_task(sweeper.run):
        yield
    await db.close()


async def commands(app: web.Application) -> AsyncIterator[None]:
    """Commands, and the deadline of those that nobody answers."""
    app[keys.COMMANDS] = asked = Commands(
        app[keys.DB],
        app[keys.JOURNAL],
        app[keys.BROKER],
        timeout_s=app[keys.SETTINGS].command_timeout_s,
        write_timeout_s=app[keys.SETTINGS].write_timeout_s,
    )

    async def expire() -> None:
        while True:
            try:
                await asked.expire()
            except (Unavailable, OutcomeUnknown):
                pass  # the relay logs the outage
            except DatabaseError as error:
                if not error.is_outage:
                    raise
            await asyncio.sleep(EXPIRE_S)

    async with background_task(expire):
        yield


async def sockets(app: web.Application) -> AsyncIterator[None]:
    """The heartbeat of all websockets."""
    async with background_task(partial(ws.heartbeat, app)):
        yield


async def broker(app: web.Application) -> AsyncIterator[None]:
    """Opened last, when everybody who listens has said so; with memory: the bot lives here, too."""
    line = app[keys.BROKER]
    if app[keys.SETTINGS].uses_memory_broker:
        async with bot.robot(line, app[keys.SETTINGS]):
            await line.open()
            yield
            await line.close()
    else:
        await line.open()
        yield
        await line.close()


CONTEXTS = [database, security, the_journal, relay, commands, sockets, broker]


async def say_goodbye(app: web.Application) -> None:
    """Writes in flight are answered, then the sockets leave, in a short spread."""
    state = app[keys.STATE]
    state.stopping = True
    await app[keys.JOURNAL].close()
    log.info("stopping; %d websockets are told to come back", len(state.sessions))
    await asyncio.gather(*(session.stop() for session in list(state.sessions)))


async def _wait_for(db: Database, wait_s: float) -> None:
    loop = asyncio.get_running_loop()
    deadline = loop.time() + wait_s
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
        applied = [row.migration_id for row in await db.all("schema/applied")]
    except StatementFailed as error:
        if error.sqlstate != "42P01":  # no such table
            raise
        applied = []
    if difference := schema.difference(applied):
        raise StartupError(difference)
