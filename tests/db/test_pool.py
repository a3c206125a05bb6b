"""chat/db/pool.py: what each call returns, and the three errors."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any, NamedTuple

import psycopg2
import pytest

from chat.db import pool as module
from chat.db import statements
from chat.db.errors import StatementFailed, StatementTimeout, Unreachable
from chat.db.pool import Database
from chat.db.statements import statement
from tests.support.names import unique
from tests.support.proxy import Proxy
from tests.support.waiting import eventually


@contextlib.asynccontextmanager
async def opened(url: str, size: int = 1, name: str = "test") -> AsyncIterator[Database]:
    db = Database(url, size=size, name=name)
    await db.open()
    try:
        yield db
    finally:
        await db.close()


@contextlib.asynccontextmanager
async def sleeping(url: str, database_url: str) -> AsyncIterator[tuple[Database, asyncio.Task[None]]]:
    """A pool whose only connection is in a statement of 3 s, which PostgreSQL runs already. Needs the fixture `sql`."""
    name = unique("sleeper")
    with contextlib.closing(psycopg2.connect(database_url)) as other, other.cursor() as cursor:
        other.autocommit = True

        def runs() -> bool:
            cursor.execute(
                "SELECT FROM pg_stat_activity WHERE application_name = %s AND wait_event = 'PgSleep'", [f"chat {name}"]
            )
            return cursor.rowcount == 1

        async with opened(url, name=name) as db:
            working = asyncio.create_task(db.execute("SELECT pg_sleep(3)"))
            await eventually(runs)
            yield db, working


def all_idle_are_closed(db: Database) -> bool:
    """Whether no idle connection of a pool is open any more."""
    return all(connection.closed for connection in db.idle_connections)


@pytest.fixture
def sql(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let names with a blank in them be SQL themselves."""
    monkeypatch.setattr(statements, "statement", lambda name: name if " " in name else statement(name))


# --- what is returned ----------------------------------------------------------------------------------


class Square(NamedTuple):
    n: int
    square: int


TWO = "SELECT n, n * n AS square FROM generate_series(1, 2) AS n"


async def test_each_call_returns_the_rows_that_its_name_says(db: Database, sql: None) -> None:
    assert await db.fetch_all(TWO, Square) == [Square(1, 1), Square(2, 4)]
    assert await db.fetch_one(TWO, Square) == Square(1, 1)
    assert await db.fetch_value(TWO, int) == 1
    assert await db.fetch_all("SELECT 1 AS n, 1 AS square WHERE false", Square) == []
    assert await db.fetch_one("SELECT 1 AS n, 1 AS square WHERE false", Square) is None
    assert await db.fetch_value("SELECT 1 WHERE false", int) is None
    assert await db.fetch_value("SELECT NULL::int", int) is None
    await db.execute("SET LOCAL work_mem = '64kB'")


@pytest.mark.parametrize(
    ("columns", "returned"),
    [("n", "n"), ("square, n", "square, n"), ("n, square, n AS m", "n, square, m"), ("n, square AS area", "n, area")],
)
async def test_a_row_class_with_other_columns_is_refused(db: Database, sql: None, columns: str, returned: str) -> None:
    name = f"VALUES (1); SELECT {columns} FROM (SELECT 1 AS n, 1 AS square) AS t WHERE false"
    with pytest.raises(TypeError) as caught:
        await db.fetch_all(name, Square)
    assert f"returns the columns {returned}, but Square expects n, square" in str(caught.value)


async def test_a_statement_without_rows_does_not_fit_a_row_class(db: Database, sql: None) -> None:
    with pytest.raises(TypeError, match=r"returns the columns \(none\)"):
        await db.fetch_all("SET LOCAL work_mem = '64kB'", Square)


async def test_a_value_of_another_type_is_refused(db: Database, sql: None) -> None:
    with pytest.raises(TypeError, match=r"returns str, but int is expected"):
        await db.fetch_value("SELECT 'one'", int)


async def test_lists_arrive_as_arrays(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    arrays = {
        "numbers": [3, -(2**63), 2**63 - 1, None],
        "nothing": [],
        "texts": ["a,b", '"', "{}", "NULL", "\\", None],
        "facts": [True, False],
    }

    class Arrays(NamedTuple):
        numbers: list[int | None]
        nothing: list[int]
        texts: list[str | None]
        facts: list[bool]

    query = (
        "SELECT %(numbers)s::bigint[] AS numbers, %(nothing)s::bigint[] AS nothing, %(texts)s::text[] AS texts, "
        "%(facts)s::boolean[] AS facts"
    )
    monkeypatch.setattr(statements, "statement", lambda name: query)
    found = await db.fetch_one("arrays of all types", Arrays, **arrays)
    assert found is not None and found._asdict() == arrays


async def test_a_parameter_may_have_the_name_of_an_argument(db: Database, sql: None) -> None:
    assert await db.fetch_value("VALUES (%(name)s::text || %(row)s::text)", str, name="a", row="b") == "ab"


async def test_several_statements_are_one_transaction_and_return_the_rows_of_the_last(db: Database, sql: None) -> None:
    assert (
        await db.fetch_value("CREATE TEMP TABLE t (n int); INSERT INTO t VALUES (1), (2); SELECT sum(n) FROM t", int)
        == 3
    )
    with pytest.raises(StatementFailed):
        await db.execute("INSERT INTO t VALUES (3); SELECT 1 / 0")
    assert await db.fetch_value("SELECT sum(n) FROM t", int) == 3


async def test_a_statement_is_sent_without_its_comments() -> None:
    assert statement("users/get").startswith("SELECT")


async def test_the_connection_has_our_limits(db: Database, sql: None) -> None:
    assert await db.fetch_value("SHOW lock_timeout", str) == "500ms"
    assert await db.fetch_value("SHOW statement_timeout", str) == "3500ms"
    assert await db.fetch_value("SHOW synchronous_commit", str) == "on"


# --- what goes wrong ----------------------------------------------------------------------------------


async def test_a_violation_is_an_error_of_the_data(db: Database) -> None:
    name = unique("foreign")
    with pytest.raises(StatementFailed) as caught:
        await db.execute("rooms/create", name=name, name_key=name, topic="", user_id=2**62, request_id="x")
    assert caught.value.reason.startswith("23503 ")
    assert caught.value.is_data_error and not caught.value.is_transient and not caught.value.is_lock_timeout


@pytest.mark.parametrize(
    ("sqlstate", "status", "code", "is_outage"),
    [
        ("53100", 503, "unavailable", True),  # the disk is full
        ("25006", 503, "unavailable", True),  # read-only
        ("55P03", 503, "unavailable", False),  # locked by another transaction
        ("42703", 500, "internal", False),  # a fault in our SQL
        ("23505", 500, "internal", False),  # a conflict that no caller translated
    ],
)
def test_only_errors_that_waiting_may_mend_are_unavailable(
    sqlstate: str, status: int, code: str, is_outage: bool
) -> None:
    class WriteResult(psycopg2.Error):
        pgcode = sqlstate
        diag: Any = SimpleNamespace(constraint_name=None, message_primary="no")

    failed = StatementFailed(WriteResult())
    assert (failed.status, failed.code, failed.is_outage) == (status, code, is_outage)
    assert ("Retry-After" in failed.headers) is (status == 503)


async def test_a_lock_timeout_is_recognised(db: Database, database_url: str) -> None:
    other = psycopg2.connect(database_url)
    other.cursor().execute("SELECT 1 FROM epoch FOR UPDATE")
    with pytest.raises(StatementFailed) as caught:
        await db.fetch_value("epoch/renew", str)
    assert caught.value.is_lock_timeout and not caught.value.is_transient
    other.close()


async def test_a_statement_that_the_server_cancels_was_not_done(db: Database, sql: None) -> None:
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda *_: None)  # aiopg reports it there as well
    try:
        with pytest.raises(StatementFailed) as caught:
            await db.execute("SELECT pg_cancel_backend(pg_backend_pid())")
    finally:
        loop.set_exception_handler(None)
    assert caught.value.sqlstate == "57014" and caught.value.is_transient
    assert await db.fetch_value("SELECT 1", int) == 1


async def test_a_statement_whose_server_process_ends_was_perhaps_done(db: Database, sql: None) -> None:
    with pytest.raises(StatementTimeout):
        await db.execute("SELECT pg_terminate_backend(pg_backend_pid())")
    assert await db.fetch_value("SELECT 1", int) == 1


async def test_a_statement_without_an_answer_in_time_was_perhaps_done(
    database_url: str, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RESPONSE_TIMEOUT_S", 0.1)
    async with opened(proxy.instead_of(database_url)) as db:
        proxy.hold()
        with pytest.raises(StatementTimeout):
            await db.fetch_value("epoch/get", str)
        proxy.release()
        assert await db.fetch_value("epoch/get", str)


@pytest.mark.parametrize("end", ["cut", "finish"])
async def test_a_statement_on_a_connection_that_breaks_was_perhaps_done(
    database_url: str, proxy: Proxy, sql: None, end: str
) -> None:
    async with sleeping(proxy.instead_of(database_url), database_url) as (db, working):
        getattr(proxy, end)()
        with pytest.raises(StatementTimeout):
            await working
        assert await db.fetch_value("SELECT 1", int) == 1


async def test_an_idle_connection_that_breaks_is_replaced_without_an_error(database_url: str, proxy: Proxy) -> None:
    async with opened(proxy.instead_of(database_url), size=3) as db:
        proxy.cut()
        await eventually(all_idle_are_closed, db)
        for _ in range(5):
            assert await db.fetch_value("epoch/get", str)


async def test_without_a_server_a_statement_was_certainly_not_done(database_url: str, proxy: Proxy) -> None:
    async with opened(proxy.instead_of(database_url)) as db:
        proxy.refusing = True
        proxy.cut()
        await eventually(all_idle_are_closed, db)
        with pytest.raises(Unreachable):
            await db.fetch_value("epoch/get", str)
        proxy.refusing = False
        assert await db.fetch_value("epoch/get", str)


async def test_a_server_that_does_not_answer_a_connect_is_unreachable(
    database_url: str, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CONNECT_TIMEOUT_S", 0.1)
    proxy.hold()
    with pytest.raises(Unreachable):
        await Database(proxy.instead_of(database_url), size=2, name="test").open()


async def test_one_broken_connection_harms_no_other_even_if_it_cannot_be_replaced(
    database_url: str, proxy: Proxy, sql: None
) -> None:
    async with opened(proxy.instead_of(database_url), size=2) as db:
        with pytest.raises(StatementTimeout):
            await db.execute("SELECT pg_terminate_backend(pg_backend_pid())")
        proxy.refusing = True
        for _ in range(5):
            assert await db.fetch_value("SELECT 1", int) == 1
        async with db.connection():
            with pytest.raises(Unreachable):
                await db.fetch_value("SELECT 1", int)


async def test_a_call_that_finds_no_free_connection_waits_and_then_gives_up(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with db.connection() as first:
        waiting = asyncio.create_task(db.fetch_value("epoch/get", str))
        await asyncio.sleep(0)  # it has begun, with the usual time limit
        monkeypatch.setattr(module, "POOL_TIMEOUT_S", 0.05)
        with pytest.raises(Unreachable):
            await db.fetch_value("epoch/get", str)
        assert await first.fetch_tuples("epoch/get", {})
    assert await waiting


async def test_a_cancelled_call_leaves_nothing_behind(database_url: str, sql: None) -> None:
    async with sleeping(database_url, database_url) as (db, working):
        working.cancel()
        with pytest.raises(asyncio.CancelledError):
            await working
        assert await db.fetch_value("SELECT 1", int) == 1


async def test_every_address_of_a_host_is_tried(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def two_addresses(*_: object, **__: object) -> list[Any]:
        return [(None, None, None, "", (address, 0)) for address in ("127.0.0.2", "127.0.0.1")]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", two_addresses)
    async with opened(database_url.replace("127.0.0.1", "localhost")) as db:
        assert await db.fetch_value("epoch/get", str)


async def test_a_host_without_an_address_is_unreachable(database_url: str) -> None:
    with pytest.raises(Unreachable):
        await Database(database_url.replace("127.0.0.1", "nowhere.invalid"), size=1, name="test").open()


async def test_closing_ends_the_statements_in_flight(database_url: str, sql: None) -> None:
    async with sleeping(database_url, database_url) as (db, working):
        await db.close()
        with pytest.raises(StatementTimeout):
            await working
        with pytest.raises(Unreachable):
            await db.fetch_value("SELECT 1", int)
