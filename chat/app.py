"""The application: every address, every resource, put together once.

`make_app` opens nothing. Resources open in the order of `CONTEXTS`, each needing only those before it, and
close in reverse; the websockets are told before all that.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial

from aiohttp import web

from chat import api, bot, journal, keys, page, schema, ws
from chat.brokers import make_broker
from chat.commands import Commands
from chat.config import Settings
from chat.db import Database, DatabaseError, StatementFailed, Unreachable
from chat.errors import OutcomeUnknown, Told, Unavailable
from chat.hub import Hub
from chat.journal import Journal
from chat.messages import History
from chat.middleware import cut_who_takes_nothing, errors, signed_in
from chat.protocol import FRAME_BYTES
from chat.relay import Relay
from chat.rooms import Joined
from chat.security import Passwords, Tokens

log = logging.getLogger("chat.app")

EXPIRE_S = 1.0  # how often commands without an answer are looked for
RELAY_CONNECTIONS = 2  # the sweep and a repair

ROOM = r"/v1/chat/rooms/{room_id:[0-9]{1,19}}"

ROUTES = [
    web.post("/v1/auth/signup", api.sign_up),
    web.post("/v1/auth/login", api.log_in),
    web.get("/v1/users/me", signed_in(api.me)),
    web.get("/v1/chat/rooms", signed_in(api.list_rooms)),
    web.post("/v1/chat/rooms", signed_in(api.create_room)),
    web.get(ROOM, signed_in(api.get_room)),
    web.get(ROOM + "/members", signed_in(api.list_members)),
    web.put(ROOM + "/members/me", signed_in(api.join_room)),
    web.delete(ROOM + "/members/me", signed_in(api.leave_room)),
    web.get(r"/v1/api/chat/rooms/{room_id:[0-9]{1,19}}/messages", signed_in(api.list_messages)),
    web.get(ROOM + "/messages", signed_in(api.list_messages)),
    web.post(ROOM + "/messages", signed_in(api.post_message)),
    web.get(ROOM + "/events", signed_in(api.list_events)),
    web.get("/v1/ws", ws.websocket),  # its own guard: the token may be in four places
    web.get("/health/live", api.live),
    web.get("/health/ready", api.ready),
    web.get("/", page.index),
    web.get("/web/{name}", page.static),
]


class CannotStart(Told):
    """The server cannot start; the text says what to do."""


def make_app(settings: Settings) -> web.Application:
    """The application of these settings. Opens nothing; raises `BadSetting` if they cannot sign tokens."""
    settings.signing()
    app = web.Application(middlewares=[errors], client_max_size=FRAME_BYTES)
    app[keys.SETTINGS] = settings
    app[keys.STATE] = keys.State()
    app.add_routes(ROUTES)
    app.cleanup_ctx.extend(CONTEXTS)
    app.on_response_prepare.append(cut_who_takes_nothing)
    app.on_shutdown.append(say_goodbye)
    return app


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
    async with _in_background(sweeper.run):
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

    async with _in_background(expire):
        yield


async def sockets(app: web.Application) -> AsyncIterator[None]:
    """The heartbeat of all websockets."""
    async with _in_background(partial(ws.heartbeat, app)):
        yield


async def broker(app: web.Application) -> AsyncIterator[None]:
    """Opened last, when everybody who listens has said so; with local: the robot lives here, too."""
    line = app[keys.BROKER]
    if app[keys.SETTINGS].local_broker:
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


class _in_background:
    """Runs an endless loop as long as the context lasts. What it raises is logged, and it begins again."""

    def __init__(self, loop: Callable[[], Awaitable[None]]) -> None:
        self._loop = loop

    async def __aenter__(self) -> None:
        self._task = asyncio.create_task(self._forever())

    async def __aexit__(self, *_: object) -> None:
        while not self._task.done():  # before Python 3.12, wait_for swallows a cancel that comes with its result
            self._task.cancel()
            await asyncio.wait([self._task], timeout=0.1)

    async def _forever(self) -> None:
        while True:
            try:
                await self._loop()
            except Exception:
                log.exception("a loop of the server failed; it begins again")
                await asyncio.sleep(1)


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
                raise CannotStart(
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
        raise CannotStart(difference)
