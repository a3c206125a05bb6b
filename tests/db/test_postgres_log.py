"""What PostgreSQL writes to its log when the server meets an error that it expects: no hash and no word of a message.

PostgreSQL logs a statement that fails with all its values, and only a superuser may forbid it. So the server is that of
an ordinary user here.
"""

import asyncio
import contextlib
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from secrets import token_hex
from typing import Any
from urllib.parse import urlsplit

import argon2
import psycopg2
import pytest

from chat.db import migrations
from chat.db.errors import DatabaseError
from chat.db.pool import Database
from chat.errors import Unavailable
from chat.http import app_keys
from devtools.postgres import PrivatePostgres
from tests.support.client import GENERAL, PASSWORD
from tests.support.names import unique
from tests.support.server import InProcessServer, serving
from tests.support.settings import settings_for

pytestmark = pytest.mark.services


@pytest.fixture(scope="module")
def server() -> Iterator[PrivatePostgres]:
    folder = Path(tempfile.mkdtemp(prefix="chat-test-"))
    folder.chmod(0o755)  # the server's user has to enter it
    postgres = PrivatePostgres(folder / "server")
    if postgres.bin() is None:
        pytest.skip("PostgreSQL is not installed")
    postgres.start()
    yield postgres
    postgres.stop()
    shutil.rmtree(folder)


class Postgres:
    """A database of an ordinary user, and the log of its server."""

    def __init__(self, server: PrivatePostgres, name: str) -> None:
        self.server, self.name = server, name
        parts = urlsplit(server.url)
        self.url = f"postgresql://{name}:{name}@{parts.hostname}:{parts.port}/{name}"
        self.admin_url = f"{server.url.removesuffix('/chat')}/{name}"
        self._begin = len(self.log_text())

    def log_text(self) -> str:
        return self.server.log.read_text(encoding="utf-8", errors="replace")

    def logged(self) -> str:
        """What was logged since this object was made."""
        return self.log_text()[self._begin :]

    def execute(self, *statements: str, url: str = "") -> None:
        """Run statements as the superuser of the database."""
        with contextlib.closing(psycopg2.connect(url or self.admin_url)) as connection:
            connection.autocommit = True
            with connection.cursor() as cursor:
                for statement in statements:
                    cursor.execute(statement)

    @contextlib.contextmanager
    def locked(self, statement: str) -> Iterator[None]:
        """Hold the locks that a statement takes."""
        with contextlib.closing(psycopg2.connect(self.admin_url)) as connection, connection.cursor() as cursor:
            cursor.execute(statement)
            yield
            connection.rollback()


@pytest.fixture
def postgres(server: PrivatePostgres) -> Postgres:
    name = f"plain_{token_hex(4)}"
    database = Postgres(server, name)
    database.execute(f"CREATE ROLE {name} LOGIN PASSWORD '{name}'", url=server.url)
    create = f"CREATE DATABASE {name} OWNER {name} TEMPLATE template0 ENCODING 'UTF8'"
    database.execute(create, url=server.url)
    migrations.apply(database.url)
    return Postgres(server, name)  # the log from here on: looking for a table is an error of the migrations


@pytest.fixture
async def chat(postgres: Postgres) -> AsyncIterator[InProcessServer]:
    async with serving(settings_for(postgres.url, amqp_url="memory:", write_timeout_s=2.0)) as running:
        yield running


def account(**changed: str) -> dict[str, str]:
    name = unique("ann")
    return {"username": name, "email": f"{name}@example.com", "password": PASSWORD, **changed}


async def test_the_log_would_show_the_statement_of_an_ordinary_user(postgres: Postgres) -> None:
    with pytest.raises(psycopg2.errors.DivisionByZero):
        postgres.execute("SELECT 'a control', 1 / 0", url=postgres.url)
    assert "STATEMENT:  SELECT 'a control', 1 / 0" in postgres.logged()


async def test_a_refused_sign_up_leaves_no_hash(postgres: Postgres, chat: InProcessServer) -> None:
    taken = account()
    await chat.asks("POST", "/v1/auth/signup", taken, 201)
    for changed, field in ({"username": taken["username"].upper()}, "username"), ({"email": taken["email"]}, "email"):
        answer = await chat.asks("POST", "/v1/auth/signup", account(**changed), 409)
        assert answer["error"]["code"] == f"{field}_taken"
        assert answer["error"]["message"] == f"{field} is taken by somebody else. Choose another one."
    name = unique("race")
    async with asyncio.TaskGroup() as group:
        racers = [group.create_task(sign_up_status(chat, account(username=name))) for _ in range(4)]
    assert sorted(racer.result() for racer in racers) == [201, 409, 409, 409]
    with postgres.locked("SELECT FROM rooms FOR UPDATE"):
        answer = await chat.asks("POST", "/v1/auth/signup", refused := account(), 503)
        assert answer["error"]["code"] == "busy"
    await chat.asks("POST", "/v1/auth/signup", refused, 201)
    assert "argon2" not in postgres.logged()
    assert "ERROR" not in postgres.logged()


async def sign_up_status(chat: InProcessServer, body: dict[str, str]) -> int:
    async with chat.http.post("/v1/auth/signup", json=body) as response:
        return response.status


async def test_an_outdated_hash_that_cannot_be_replaced_is_not_logged(
    postgres: Postgres, chat: InProcessServer
) -> None:
    ann = await chat.sign_up("ann")
    old = argon2.PasswordHasher(time_cost=1, memory_cost=8192, parallelism=1).hash(PASSWORD)
    postgres.execute(f"UPDATE users SET password_hash = '{old}' WHERE id = {ann.id}")
    with postgres.locked(f"SELECT FROM users WHERE id = {ann.id} FOR UPDATE"):
        await chat.asks("POST", "/v1/auth/login", {"email": ann.email, "password": PASSWORD})
    assert "argon2" not in postgres.logged()
    assert "ERROR" not in postgres.logged()


async def test_what_is_refused_in_a_locked_room_is_not_logged(postgres: Postgres, chat: InProcessServer) -> None:
    ann = await chat.sign_up("ann")
    other = await ann.creates()
    wire = await ann.connects()
    secret, token = f"secret-{token_hex(8)}", ann.token
    with postgres.locked("SELECT FROM rooms FOR UPDATE"):
        answers = await asyncio.gather(
            *(ann.posts(f"{secret} {number}", room, 503) for number in range(3) for room in (GENERAL, other)),
            ann.posts(f"/stock={secret}", GENERAL, 503),
        )
        assert {answer["error"]["code"] for answer in answers} == {"busy"}
        await wire.says(secret, requestId="request-1")
        await wire.errs("busy", requestId="request-1")
        with pytest.raises(Unavailable) as caught:
            await chat.app[app_keys.WRITER].run(
                "commands/settle", command_id=None, room_id=other, late_s=60.0, body=secret
            )
        assert caught.value.code == "busy"
    await ann.posts(secret, GENERAL, 201, requestId="request-1")
    await ann.posts("another text", GENERAL, 409, requestId="request-1")
    for word in (secret, token, "another text"):
        assert word not in postgres.logged()
    assert "ERROR" not in postgres.logged()


async def test_a_room_name_that_is_taken_is_no_error_of_postgresql(postgres: Postgres, chat: InProcessServer) -> None:
    ann = await chat.sign_up("ann")
    await ann.asks("POST", "/v1/chat/rooms", {"name": "ＧＥＮＥＲＡＬ"}, 409)
    assert "ERROR" not in postgres.logged()


# --- errors that nobody expects -----------------------------------------------------------------------


async def failed_sign_up(url: str) -> None:
    """An account without a name, which no code of the server writes."""
    db = Database(url, size=1, name="test")
    await db.open()
    params: dict[str, Any] = {"username": None, "email": "ann@example.com", "password_hash": "$argon2id$secret"}
    with pytest.raises(DatabaseError):
        await db.execute("users/create", **params)
    await db.close()


async def test_a_role_that_may_forbid_it_has_no_statement_logged_at_all(postgres: Postgres) -> None:
    await failed_sign_up(postgres.url)
    assert "$argon2id$secret" in postgres.logged()
    before = len(postgres.logged())
    await failed_sign_up(postgres.admin_url)
    assert "ERROR" in postgres.logged()[before:]
    assert "STATEMENT" not in postgres.logged()[before:]


async def test_a_superuser_can_grant_it(postgres: Postgres) -> None:
    try:
        postgres.execute(f"GRANT SET ON PARAMETER log_min_error_statement TO {postgres.name}")
    except psycopg2.errors.SyntaxError:
        pytest.skip("PostgreSQL 14 has no such grant.")
    before = len(postgres.logged())
    await failed_sign_up(postgres.url)
    assert "ERROR" in postgres.logged()[before:]
    assert "STATEMENT" not in postgres.logged()[before:]
