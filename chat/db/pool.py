"""The repository: hand-written SQL by name, on a pool of connections.

`sql/<noun>/<verb>.sql` holds one unit of work: `await db.fetch_one("users/get", User, user_id=7)`. A file is sent as
one string: several statements in it are one round trip and one transaction, and the rows of the last one come back.

    fetch_all     all rows, of a row class (see rows.py)
    fetch_one     the first row, or None
    fetch_value   the first column of the first row, or None
    execute       nothing
"""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import aiopg
import psycopg2
from psycopg2.extensions import TRANSACTION_STATUS_IDLE

from chat.aio import being_cancelled
from chat.db.errors import Unreachable, translate_error
from chat.db.rows import Row, check_columns, row_mapping
from chat.db.statements import bind_params, prepare_sql

Value = TypeVar("Value")

STATEMENT_TIMEOUT_S = 3.5  # PostgreSQL cancels a statement
LOCK_TIMEOUT_S = 0.5  # PostgreSQL stops waiting for a lock; well before that, so that the error says what it was
RESPONSE_TIMEOUT_S = STATEMENT_TIMEOUT_S + 0.5  # we give up; later, because PostgreSQL's own error says more
CONNECT_TIMEOUT_S = 3.0  # all four are below 5 s, by when a server that is back has to be noticed
POOL_TIMEOUT_S = 10.0  # a caller stops waiting for a free connection
CLOSED_BY_US = 1  # a value of psycopg2's `closed`; 2 is a broken connection
_OPTIONS = " ".join(
    f"-c {setting}"
    for setting in (
        f"statement_timeout={STATEMENT_TIMEOUT_S * 1000:.0f}",
        f"lock_timeout={LOCK_TIMEOUT_S * 1000:.0f}",
        "client_connection_check_interval=2000",  # a client that is gone does not hold its locks for long
        "synchronous_commit=on",  # an ack means: on disk
        "timezone=UTC",
        "jit=off",  # it compiles for longer than our statements run
        "plan_cache_mode=force_generic_plan",  # see `prepare_sql`
        "enable_seqscan=off",  # a generic plan lasts, and tables grow
    )
)
# PostgreSQL writes a statement that fails to its log, with hashes and messages in it. Superusers may forbid it for
# themselves, and so may roles to which one has granted it; docs/operations.md says how.
_HIDE_FAILED_STATEMENTS = (
    "DO $$BEGIN SET log_min_error_statement = panic; EXCEPTION WHEN insufficient_privilege THEN NULL; END$$"
)


class Database:
    """A pool of `size` connections that runs the files of sql/. Any number of tasks may call it at the same time.

    Every call may raise a `DatabaseError`. aiopg's own pool is not used, because it connects under its lock and hands
    out no connection meanwhile: one broken connection would stop everything.
    """

    def __init__(self, url: str, *, size: int, name: str) -> None:
        self._url, self._size, self._name = url, size, name
        self._slots = asyncio.Semaphore(size)
        self._free: list[Connection] = []
        self._used: set[Connection] = set()
        self._is_open = False

    @property
    def idle_connections(self) -> "tuple[Connection, ...]":
        """The connections that no caller has. The server may have closed some of them."""
        return tuple(self._free)

    async def open(self) -> None:
        """Connect. Raises `Unreachable`."""
        self._is_open = True
        try:
            while len(self._free) < self._size:
                self._free.append(await self._connect())
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Close all connections. A statement in flight ends with `StatementTimeout`."""
        self._is_open = False
        for connection in (*self._free, *self._used):
            connection.driver.close()
        self._free.clear()

    async def fetch_all(self, name: str, row: type[Row], /, **params: Any) -> list[Row]:
        """Run sql/<name>.sql and return all rows. Raises `TypeError` if the row class has other columns."""
        async with self.connection() as connection:
            return await connection.fetch(name, row, params)

    async def fetch_one(self, name: str, row: type[Row], /, **params: Any) -> Row | None:
        """Run sql/<name>.sql and return the first row, or None if there is none."""
        rows = await self.fetch_all(name, row, **params)
        return rows[0] if rows else None

    async def fetch_value(self, name: str, type_: type[Value], /, **params: Any) -> Value | None:
        """Run sql/<name>.sql and return the first column of the first row, or None if it is null or there is none."""
        async with self.connection() as connection:
            rows = await connection.fetch_tuples(name, params)
        value = rows[0][0] if rows else None
        if value is not None and not isinstance(value, type_):
            raise TypeError(f"sql/{name}.sql returns {type(value).__name__}, but {type_.__name__} is expected.")
        return value

    async def execute(self, name: str, /, **params: Any) -> None:
        """Run sql/<name>.sql. Nothing comes back."""
        async with self.connection() as connection:
            await connection.execute(name, params)

    @asynccontextmanager
    async def connection(self) -> AsyncIterator["Connection"]:
        """Check out a connection. Raises `Unreachable` only on entry: any later error means that it was used."""
        connection = await self._acquire()
        try:
            yield connection
        finally:
            self._release(connection)

    async def _acquire(self) -> "Connection":
        try:
            async with asyncio.timeout(POOL_TIMEOUT_S):
                await self._slots.acquire()
        except TimeoutError as error:
            raise Unreachable from error
        try:
            connection = self._take_free() or await self._connect()
        except BaseException:
            self._slots.release()
            raise
        self._used.add(connection)
        return connection

    def _take_free(self) -> "Connection | None":
        while self._free:
            connection = self._free.pop()
            if not connection.closed:  # else the server has ended it meanwhile
                return connection
            connection.driver.close()
        return None

    def _release(self, connection: "Connection") -> None:
        self._used.discard(connection)
        self._slots.release()
        driver = connection.driver
        if self._is_open and not driver.closed and driver.raw.get_transaction_status() == TRANSACTION_STATUS_IDLE:
            self._free.append(connection)
        elif driver.closed != CLOSED_BY_US:  # closing twice could close a descriptor that is another's by now
            driver.close()

    async def _connect(self) -> "Connection":
        try:
            for address in await self._addresses():
                try:
                    driver = await self._connect_to(address)
                except (psycopg2.Error, OSError, TimeoutError, RuntimeError) as error:
                    last_error: Exception = error
                else:
                    if self._is_open:
                        return Connection(driver)
                    driver.close()
                    raise Unreachable
            raise Unreachable from last_error
        except (OSError, TimeoutError) as error:  # the name of the host cannot be resolved
            raise Unreachable from error
        except asyncio.CancelledError as error:
            if being_cancelled():
                raise
            raise Unreachable from error

    async def _addresses(self) -> list[str | None]:
        """Resolve the host; None leaves it to libpq.

        If libpq does it, the lookup stops the loop, and a second address is never tried, because aiopg goes on watching
        the socket of the first.
        """
        dsn = psycopg2.extensions.parse_dsn(self._url)
        host = dsn.get("host", "/")
        if "hostaddr" in dsn or "," in host or host.startswith(("/", "@")):
            return [None]
        lookup = asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
        return [str(found[4][0]) for found in await asyncio.wait_for(lookup, CONNECT_TIMEOUT_S)]

    async def _connect_to(self, address: str | None) -> aiopg.Connection:
        driver = await aiopg.connect(
            self._url,
            hostaddr=address,
            timeout=CONNECT_TIMEOUT_S,
            enable_hstore=False,
            enable_uuid=False,
            options=_OPTIONS,
            application_name=f"chat {self._name}",
        )
        try:
            async with driver.cursor(timeout=CONNECT_TIMEOUT_S) as cursor:
                await cursor.execute(_HIDE_FAILED_STATEMENTS)
        except BaseException:
            driver.close()
            raise
        return driver


class Connection:
    """A connection of a `Database`: one statement at a time. Calls raise `StatementFailed` or `StatementTimeout`.

    It keeps one cursor, because aiopg's cursors are in reference cycles with their statements and rows, and would wait
    for the garbage collector.
    """

    def __init__(self, driver: aiopg.Connection) -> None:
        self.driver = driver
        self._cursor: aiopg.Cursor | None = None
        self._uses: dict[str, int] = {}  # of each prepared statement
        self._checked: set[tuple[str, type[tuple[Any, ...]]]] = set()

    @property
    def closed(self) -> bool:
        return bool(self.driver.closed)

    async def fetch(self, name: str, row: type[Row], params: dict[str, Any]) -> list[Row]:
        """Run sql/<name>.sql and return the rows. Raises `TypeError` if the row class has other columns."""
        rows = await self.fetch_tuples(name, params)
        if (name, row) not in self._checked:  # a statement always returns the same columns
            assert self._cursor is not None
            check_columns(name, row, [column.name for column in self._cursor.description or ()])
            self._checked.add((name, row))
        return list(map(row_mapping(row).make, rows))

    async def fetch_tuples(self, name: str, params: dict[str, Any]) -> list[tuple[Any, ...]]:
        """Run sql/<name>.sql and return the rows as they are."""
        return await self._run(name, params, fetch=True)

    async def execute(self, name: str, params: dict[str, Any]) -> None:
        """Run sql/<name>.sql. Nothing comes back."""
        await self._run(name, params, fetch=False)

    async def _run(self, name: str, params: dict[str, Any], *, fetch: bool) -> list[tuple[Any, ...]]:
        prepares, executes = prepare_sql(name)
        try:
            if self._cursor is None:
                self._cursor = await self.driver.cursor(timeout=RESPONSE_TIMEOUT_S)
            for statement, prepare in prepares.items():
                # Prepare at the first use and whenever there were twice as many. PostgreSQL plans anew by itself, but
                # only after an ANALYZE: until then, a plan made for empty tables reads whole indexes that have grown.
                # With 200,000 events an append took 36 times as long so, and a page of messages 3 times.
                uses = self._uses.pop(statement, 0)
                if not uses & (uses - 1):  # 0, or a power of two
                    await self._cursor.execute(f'DEALLOCATE "{statement}"; {prepare}' if uses else prepare)
                self._uses[statement] = uses + 1
            await self._cursor.execute(executes, bind_params(params))
            return await self._cursor.fetchall() if fetch and self._cursor.description else []
        except asyncio.CancelledError as error:
            if being_cancelled():
                raise
            raise translate_error(name, error.__context__) from error  # aiopg's, when the server cancelled it
        except (psycopg2.Error, OSError, TimeoutError) as error:
            raise translate_error(name, error) from error


def run_alone(url: str, name: str, type_: type[Value], /, **params: Any) -> Value | None:
    """Run sql/<name>.sql on a connection and a loop of its own and return its value: for the command line."""

    async def run() -> Value | None:
        db = Database(url, size=1, name="cli")
        await db.open()
        try:
            return await db.fetch_value(name, type_, **params)
        finally:
            await db.close()

    return asyncio.run(run())
