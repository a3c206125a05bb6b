"""The repository: hand-written SQL by name. The only module that knows aiopg and psycopg2.

`sql/<noun>/<verb>.sql` holds one unit of work: `await db.one("users/by_id", user_id=7)`. The verb of the call
says what comes back: `all` rows, `one` row or None, one `value`, or nothing (`run`). A file is sent as one
string: several statements in it are one round trip and one transaction, and the last one's rows come back.

What can go wrong has three names, because a writer must know what became of his write:

    Unreachable   no connection was to be had: certainly not done
    Refused       PostgreSQL answered with an error: certainly not done
    Lost          sent, and the answer never came: perhaps done
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
from typing import Any

import aiopg
import psycopg2
from aiopg.pool import Pool
from psycopg2.extras import NamedTupleCursor

from chat.errors import Unavailable

SQL = Path(__file__).parent.parent / "sql"

STATEMENT_S = 5.0  # PostgreSQL gives up on a statement
LOCK_S = 0.5  # … or on waiting for a lock, well before that, so that it is told as what it is
ANSWER_S = STATEMENT_S + 1.0  # this side gives up, later: the server's own answer is worth more than ours
CONNECT_S = 4.0

_OPTIONS = " ".join(
    f"-c {setting}"
    for setting in (
        f"statement_timeout={STATEMENT_S * 1000:.0f}",
        f"lock_timeout={LOCK_S * 1000:.0f}",
        "client_connection_check_interval=2000",  # a client that is gone does not hold its locks for long
        "synchronous_commit=on",  # an ack means: on disk
        "timezone=UTC",
        "jit=off",  # it compiles for longer than our statements run
    )
)


class Unreachable(Unavailable):
    """No connection to PostgreSQL; nothing was sent."""

    def __init__(self) -> None:
        super().__init__("the database cannot be reached; nothing was done, try again")


class Refused(Unavailable):
    """PostgreSQL answered with an error; nothing was done.

    `sqlstate` is its five-character code, `constraint` the name of the violated one or "".
    """

    def __init__(self, error: psycopg2.Error) -> None:
        super().__init__("the database did not take it; nothing was done, try again")
        self.sqlstate: str = error.pgcode or "XX000"
        self.constraint: str = error.diag.constraint_name or ""
        self.__cause__ = error

    @property
    def bad_data(self) -> bool:
        """Whether the fault is in the data (classes 22 and 23): the same again fails again."""
        return self.sqlstate[:2] in ("22", "23")

    @property
    def locked(self) -> bool:
        """Whether somebody else held a lock for longer than `LOCK_S`."""
        return self.sqlstate == "55P03"

    @property
    def passing(self) -> bool:
        """Whether the fault is in the server's state (read-only, full, stopping …), so that waiting may help."""
        return self.sqlstate[:2] in ("08", "25", "40", "53", "57", "58")


class Lost(Unavailable):
    """The statement was sent and never answered; perhaps it was done."""

    def __init__(self) -> None:
        super().__init__("the database did not answer in time")


@cache
def statement(name: str) -> str:
    """The text of sql/<name>.sql without its comment lines, which the server need not read each time."""
    lines = (SQL / f"{name}.sql").read_text(encoding="utf-8").splitlines()
    return "\n".join(line for line in lines if not line.lstrip().startswith("--"))


class _WakingPool(Pool):
    """aiopg's pool, which forgets to wake whoever waits when a broken connection comes back."""

    def release(self, conn: aiopg.Connection) -> "asyncio.Future[None]":
        done = super().release(conn)
        return asyncio.ensure_future(self._wakeup()) if conn.closed else done


class Database:
    """A pool of `size` connections that runs the files of sql/. Any number of tasks may call it at once.

    Every call may raise `Unreachable`, `Refused` or `Lost`.
    """

    def __init__(self, url: str, *, size: int, name: str) -> None:
        self._url, self._size, self._name = url, size, name
        self._pool: Pool | None = None

    async def open(self) -> None:
        """Connects. Raises `Unreachable`."""
        try:
            self._pool = await _WakingPool.from_pool_fill(
                self._url,
                self._size,
                self._size,
                CONNECT_S,
                enable_json=True,
                enable_hstore=False,
                enable_uuid=False,
                echo=False,
                on_connect=None,
                pool_recycle=-1,
                options=_OPTIONS,
                application_name=f"chat {self._name}",
                connect_timeout=round(CONNECT_S),
            )
        except (psycopg2.Error, OSError, TimeoutError) as error:
            raise Unreachable from error

    async def close(self) -> None:
        """Closes all connections; whoever still uses one gets `Lost`."""
        if self._pool is not None:
            self._pool.terminate()
            await self._pool.wait_closed()

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
        raw = await self._acquire()
        assert self._pool is not None
        try:
            yield Connection(raw)
        finally:
            self._pool.release(raw)

    async def _acquire(self) -> aiopg.Connection:
        if self._pool is None:
            raise Unreachable
        try:
            return await self._pool.acquire()
        except (psycopg2.Error, OSError, TimeoutError, RuntimeError) as error:
            raise Unreachable from error
        except asyncio.CancelledError as error:
            if _cancelling():
                raise
            raise Unreachable from error


class Connection:
    """A connection of a `Database`: one statement at a time. Calls raise `Refused` or `Lost`."""

    def __init__(self, raw: aiopg.Connection) -> None:
        self._raw = raw

    async def fetch(self, name: str, params: dict[str, Any], *, rows: bool = True) -> list[Any]:
        """Runs a file of sql/; its rows, [] unless `rows`."""
        text = statement(name)
        try:
            async with self._raw.cursor(cursor_factory=NamedTupleCursor, timeout=ANSWER_S) as cursor:
                await cursor.execute(text, params)
                return await cursor.fetchall() if rows else []
        except (psycopg2.Error, OSError, TimeoutError, asyncio.CancelledError) as error:
            raise _told(error) from error


def _cancelling() -> bool:
    task = asyncio.current_task()
    return task is not None and bool(task.cancelling())


def _told(error: BaseException) -> BaseException:
    """The driver's error as one of ours; a cancellation that somebody asked for stays what it is.

    aiopg raises CancelledError when it was the *server* that cancelled the statement.
    """
    if isinstance(error, asyncio.CancelledError):
        if _cancelling():
            return error
        cause = error.__context__
        return Refused(cause) if isinstance(cause, psycopg2.extensions.QueryCanceledError) else Lost()
    if isinstance(error, psycopg2.Error) and error.pgcode:
        return Refused(error)
    return Lost()


async def probe(url: str, timeout_s: float = 3.0) -> None:
    """Connects once and goes away again. Raises `Unreachable`."""
    database = Database(url, size=1, name="probe")
    try:
        await asyncio.wait_for(database.open(), timeout_s)
    except TimeoutError:
        raise Unreachable from None
    await database.close()
