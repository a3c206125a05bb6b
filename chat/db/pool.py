"""The repository: hand-written SQL by name. The only module that knows aiopg and psycopg2.

`sql/<noun>/<verb>.sql` holds one unit of work: `await db.one("users/get", user_id=7)`. The verb of the call
says what comes back: `all` rows, `one` row or None, one `value`, or nothing (`run`). A file is sent as one
string: several statements in it are one round trip and one transaction, and the last one's rows come back.

A `DatabaseError` is one of three siblings, because the caller must know what became of a write:

    Unreachable        no connection could be made: certainly not done
    StatementFailed    PostgreSQL answered with an error: certainly not done
    StatementTimeout   sent, and no answer came: perhaps done
"""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiopg
import psycopg2
from psycopg2.extensions import TRANSACTION_STATUS_IDLE
from psycopg2.extras import NamedTupleCursor

from chat.aio import being_cancelled
from chat.db.errors import Unreachable, translate_error
from chat.db.statements import prepared

STATEMENT_S = 3.5  # PostgreSQL gives up on a statement
LOCK_S = 0.5  # … or on waiting for a lock, well before that, so that it is told as what it is
ANSWER_S = STATEMENT_S + 0.5  # this side gives up, later: the server's own answer is worth more than ours
CONNECT_S = 3.0  # … or on connecting. All three are below 5 s, by when a server that is back has to be noticed
WAIT_S = 10.0  # … on waiting for a free connection
CLOSED_HERE = 1  # a value of psycopg2's `closed`; 2: broken
_OPTIONS = " ".join(
    f"-c {setting}"
    for setting in (
        f"statement_timeout={STATEMENT_S * 1000:.0f}",
        f"lock_timeout={LOCK_S * 1000:.0f}",
        "client_connection_check_interval=2000",  # a client that is gone does not hold its locks for long
        "synchronous_commit=on",  # an ack means: on disk
        "timezone=UTC",
        "jit=off",  # it compiles for longer than our statements run
        "plan_cache_mode=force_generic_plan",  # see `prepared`
        "enable_seqscan=off",  # such a plan lasts, and tables grow
    )
)


class Database:
    """A pool of `size` connections that runs the files of sql/. Any number of tasks may call it at once.

    Every call may raise a `DatabaseError`. The pool is our own, because aiopg's connects under
    its lock, and does not hand out what it has while it cannot connect: one broken connection would stop all.
    """

    def __init__(self, url: str, *, size: int, name: str) -> None:
        self._url, self._size, self._name = url, size, name
        self._slots = asyncio.Semaphore(size)
        self._free: list[Connection] = []
        self._used: set[Connection] = set()
        self._is_open = False

    async def open(self) -> None:
        """Connects. Raises `Unreachable`."""
        self._is_open = True
        try:
            while len(self._free) < self._size:
                self._free.append(await self._connect())
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Closes all connections; a statement in flight ends with `StatementTimeout`."""
        self._is_open = False
        for each in (*self._free, *self._used):
            each.raw.close()
        self._free.clear()

    async def all(self, name: str, **params: Any) -> list[Any]:
        """All rows, as named tuples."""
        return await self._fetch(name, params, rows=True)

    async def one(self, name: str, **params: Any) -> Any | None:
        """The first row, or None if there is none."""
        rows = await self._fetch(name, params, rows=True)
        return rows[0] if rows else None

    async def value(self, name: str, **params: Any) -> Any:
        """The first column of the first row, or None if there is none."""
        rows = await self._fetch(name, params, rows=True)
        return rows[0][0] if rows else None

    async def run(self, name: str, **params: Any) -> None:
        """Nothing comes back."""
        await self._fetch(name, params, rows=False)

    async def _fetch(self, name: str, params: dict[str, Any], *, rows: bool) -> list[Any]:
        async with self.connection() as connection:
            return await connection.fetch(name, params, rows=rows)

    @asynccontextmanager
    async def connection(self) -> AsyncIterator["Connection"]:
        """One connection for a while. Raises `Unreachable` at once or never: what comes later was sent."""
        connection = await self._acquire()
        try:
            yield connection
        finally:
            self._release(connection)

    async def _acquire(self) -> "Connection":
        try:
            async with asyncio.timeout(WAIT_S):
                await self._slots.acquire()
        except TimeoutError as error:
            raise Unreachable from error
        try:
            connection = self._free_one() or await self._connect()
        except BaseException:
            self._slots.release()
            raise
        self._used.add(connection)
        return connection

    def _free_one(self) -> "Connection | None":
        while self._free:
            connection = self._free.pop()
            if not connection.closed:  # else the server has ended it meanwhile
                return connection
            connection.raw.close()
        return None

    def _release(self, connection: "Connection") -> None:
        self._used.discard(connection)
        self._slots.release()
        raw = connection.raw
        if self._is_open and not raw.closed and raw.raw.get_transaction_status() == TRANSACTION_STATUS_IDLE:
            self._free.append(connection)
        elif raw.closed != CLOSED_HERE:  # twice would be wrong: its descriptor may be another's by now
            raw.close()

    async def _connect(self) -> "Connection":
        try:
            for address in await self._addresses():
                try:
                    raw = await self._connect_to(address)
                except (psycopg2.Error, OSError, TimeoutError, RuntimeError) as error:
                    failed: Exception = error
                else:
                    if self._is_open:
                        return Connection(raw)
                    raw.close()
                    raise Unreachable
            raise Unreachable from failed
        except (OSError, TimeoutError) as error:  # the host's name is not known
            raise Unreachable from error
        except asyncio.CancelledError as error:
            if being_cancelled():
                raise
            raise Unreachable from error

    async def _addresses(self) -> list[str | None]:
        """Where the host may be. Left to libpq, looking up a name stops the loop, and a second address is
        never tried, because aiopg goes on watching the socket of the first."""
        dsn = psycopg2.extensions.parse_dsn(self._url)
        host = dsn.get("host", "/")
        if "hostaddr" in dsn or "," in host or host.startswith(("/", "@")):
            return [None]
        looking = asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
        return [str(found[4][0]) for found in await asyncio.wait_for(looking, CONNECT_S)]

    async def _connect_to(self, address: str | None) -> aiopg.Connection:
        return await aiopg.connect(
            self._url,
            hostaddr=address,
            timeout=CONNECT_S,
            enable_hstore=False,
            enable_uuid=False,
            options=_OPTIONS,
            application_name=f"chat {self._name}",
        )


class Connection:
    """A connection of a `Database`: one statement at a time. Calls raise `StatementFailed` or `StatementTimeout`.

    Its one cursor lasts as long as it does: aiopg's are in cycles, with statement and rows, and wait for the collector.
    """

    def __init__(self, raw: aiopg.Connection) -> None:
        self.raw = raw
        self._cursor: aiopg.Cursor | None = None
        self._uses: dict[str, int] = {}  # of the statements that it has learnt

    @property
    def closed(self) -> bool:
        return bool(self.raw.closed)

    async def fetch(self, name: str, params: dict[str, Any], *, rows: bool = True) -> list[Any]:
        """Runs a file of sql/; its rows, [] unless `rows`."""
        lessons, text = prepared(name)
        try:
            if self._cursor is None:
                self._cursor = await self.raw.cursor(cursor_factory=NamedTupleCursor, timeout=ANSWER_S)
            for each, lesson in lessons.items():
                used = self._uses.pop(each, 0)
                if not used & (used - 1):  # 0, or a power of two
                    await self._cursor.execute(f'DEALLOCATE "{each}"; {lesson}' if used else lesson)
                self._uses[each] = used + 1
            await self._cursor.execute(text, params)
            return await self._cursor.fetchall() if rows else []
        except asyncio.CancelledError as error:
            if being_cancelled():
                raise
            raise translate_error(name, error.__context__) from error  # aiopg's, when it was the server that cancelled
        except (psycopg2.Error, OSError, TimeoutError) as error:
            raise translate_error(name, error) from error


def run_alone(url: str, name: str, **params: Any) -> Any:
    """The first value of a file of sql/, on a connection and a loop of its own: for the command line."""

    async def run() -> Any:
        db = Database(url, size=1, name="cli")
        await db.open()
        try:
            return await db.value(name, **params)
        finally:
            await db.close()

    return asyncio.run(run())
