"""chat/db/migrations.py and devtools/schema.py: migrations up and down, and resets from the dump."""

import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from secrets import token_hex
from typing import Any
from urllib.parse import urlsplit

import psycopg2
import pytest

from chat import config
from chat.db import migrations
from chat.db.migrations import SchemaError
from chat.protocol.text import room_name_key
from devtools import schema
from tests.support.processes import free_port
from tests.support.settings import ROOT
from tests.support.waiting import PATIENCE_S

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def server() -> str:
    """The URL of the server on which scratch databases are created."""
    return config.load(dotenv=ROOT / ".env").database_url


@pytest.fixture
def url(server: str) -> Iterator[str]:
    """The URL of an empty database."""
    with schema.scratch(server) as scratch:
        yield scratch


@pytest.fixture(scope="module")
def dumped(server: str) -> str:
    return schema.dump(server)


def ask(url: str, question: str, *params: Any) -> list[Any]:
    """Run a statement, commit, and return its rows, or [] if it has none."""
    with closing(psycopg2.connect(url)) as connection, connection, connection.cursor() as cursor:
        cursor.execute(question, params)
        return cursor.fetchall() if cursor.description else []


def tables(url: str) -> set[str]:
    found = ask(url, "SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    return {name for (name,) in found if "yoyo" not in name}


def shape(url: str) -> list[str]:
    """The statements of sql/schema.sql if it were made from this database."""
    with closing(psycopg2.connect(url)) as connection:
        return schema.statements(connection)


# --- up and down --------------------------------------------------------------------------------------


def test_the_dump_is_not_stale(dumped: str) -> None:
    assert schema.DUMP.read_text(encoding="utf-8") == dumped, "run `make db-migrate`"


@pytest.mark.slow
def test_up_down_and_up_again_leaves_no_trace(url: str) -> None:
    assert migrations.apply(url) == migrations.migration_names()
    up = shape(url)
    assert {"users", "rooms", "members", "events", "commands", "epoch"} == tables(url)
    down = [migrations.rollback(url) for _ in migrations.migration_names()]
    assert down == [[name] for name in reversed(migrations.migration_names())]
    assert migrations.rollback(url) == []
    assert tables(url) == set()
    assert migrations.apply(url) == migrations.migration_names()
    assert shape(url) == up
    assert migrations.apply(url) == []


def test_every_migration_says_why_and_has_a_rollback() -> None:
    for name, before in zip(migrations.migration_names(), ["", *migrations.migration_names()], strict=False):
        text = (migrations.MIGRATIONS / f"{name}.sql").read_text(encoding="utf-8")
        assert re.match(r"-- \w", text), name
        assert re.search(rf"^-- depends:{' ' if before else ''}{before}$", text, re.MULTILINE), name
        assert (migrations.MIGRATIONS / f"{name}.rollback.sql").exists(), name


def test_the_status_says_which_migrations_are_applied(url: str) -> None:
    migrations.apply(url)
    (last,) = migrations.rollback(url)
    assert migrations.status(url) == [(name, name != last) for name in migrations.migration_names()]


def test_a_rollback_of_rows_in_use_is_refused_and_destroys_nothing(url: str) -> None:
    migrations.apply(url)
    later = migrations.migration_names()[migrations.migration_names().index("0007.defaults") + 1 :]
    assert migrations.rollback(url, len(later)) == later[::-1]
    ask(url, "INSERT INTO users (id, username, email, password_hash) VALUES (100, 'ann', 'ann@example.com', 'x')")
    ask(url, "INSERT INTO members (room_id, user_id) VALUES (1, 100)")
    before = shape(url)
    with pytest.raises(SchemaError, match="rows are in use"):
        migrations.rollback(url)
    assert [name for name, applied in migrations.status(url) if not applied] == later
    assert shape(url) == before
    assert ask(url, "SELECT count(*) FROM members") == [(1,)]


def roll_back_to(url: str, name: str) -> None:
    """Apply all migrations, then roll back those after the named one."""
    migrations.apply(url)
    names = migrations.migration_names()
    migrations.rollback(url, len(names) - names.index(name) - 1)


def test_rooms_keep_their_names_and_get_the_keys_of_the_server(url: str) -> None:
    names = [
        "General",
        "Random",
        "ＧＥＮＥＲＡＬ",
        "Gen\u200beral",
        "Straße  am\u3000See",
        "\u2060É\ufe0f",
        "e\u200d\u0301",
        "ΝΙΚΟΣ",
    ]
    names += ["Νικ\u00adος", "ﬁn", "ｶﾞ", "के", "\u3164x\U000e0041", "a\u06ddb", "🙂\ufe0f"]
    roll_back_to(url, "0012.command-limits")
    later = migrations.migration_names()[migrations.migration_names().index("0013.room-name-keys") :]
    for name in names[2:]:
        ask(url, "INSERT INTO rooms (name) VALUES (%s)", name)
    ask(url, "INSERT INTO rooms (name, kind) VALUES ('General', 'private')")
    assert migrations.apply(url) == later
    first = {room_name_key(name): name for name in reversed(names)}
    expected = [(name, room_name_key(name) if first[room_name_key(name)] == name else None) for name in names]
    assert ask(url, "SELECT name, name_key FROM rooms ORDER BY id") == [*expected, ("General", None)]
    assert sum(key is None for _, key in expected) == 4


def test_members_are_counted_with_those_that_join_meanwhile(url: str) -> None:
    roll_back_to(url, "0014.lock-rooms")
    ask(url, "INSERT INTO users (id, username, email, is_bot) SELECT n, n, n, true FROM generate_series(100, 102) AS n")
    ask(url, "INSERT INTO rooms (id, name) VALUES (10, 'empty')")
    ask(url, "INSERT INTO members (room_id, user_id) VALUES (1, 100), (1, 101), (2, 100)")
    with closing(psycopg2.connect(url)) as joining, ThreadPoolExecutor(1) as thread:
        with joining.cursor() as cursor:
            cursor.execute("INSERT INTO members (room_id, user_id) VALUES (1, 102)")
        applying = thread.submit(migrations.apply, url)
        waiting = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        deadline = time.monotonic() + PATIENCE_S
        while not applying.done() and not ask(url, waiting):
            assert time.monotonic() < deadline, "the migration neither waits nor ends"
        assert not applying.done()
        joining.commit()
        applying.result(PATIENCE_S)
    assert ask(url, "SELECT id, member_count FROM rooms ORDER BY id") == [(1, 3), (2, 1), (10, 0)]


def test_processes_that_migrate_at_the_same_time_do_it_once(url: str) -> None:
    with ThreadPoolExecutor(3) as threads:
        applied = list(threads.map(migrations.apply, [url] * 3))
    assert sorted(applied) == [[], [], migrations.migration_names()]


def test_the_lock_of_a_process_that_was_killed_stops_no_other(url: str) -> None:
    migrations.apply(url)
    migrations.rollback(url)
    ask(url, "INSERT INTO yoyo_lock (locked, ctime, pid) VALUES (1, now(), 4711)")
    assert migrations.apply(url) == migrations.migration_names()[-1:]
    assert ask(url, "SELECT count(*) FROM yoyo_lock") == [(0,)]


# --- from the dump ------------------------------------------------------------------------------------


def test_a_reset_and_the_migrations_create_the_same_schema(url: str, dumped: str) -> None:
    schema.reset(url)
    assert dumped.endswith("\n\n" + "\n\n".join(shape(url)) + "\n")
    assert all(applied for _, applied in migrations.status(url))
    assert ask(url, "SELECT id, name FROM rooms ORDER BY id") == [(1, "General"), (2, "Random")]
    assert migrations.apply(url) == []


def test_a_reset_destroys_what_was_there_and_begins_a_new_epoch(url: str) -> None:
    migrations.apply(url)
    ask(url, "UPDATE rooms SET topic = 'used'")
    before = ask(url, "SELECT id FROM epoch")
    ask(url, "CREATE TABLE stray (id int)")
    schema.reset(url)
    assert ask(url, "SELECT id FROM epoch") != before
    assert ask(url, "SELECT count(*) FROM rooms WHERE topic = 'used'") == [(0,)]
    assert "stray" not in tables(url)


@pytest.mark.slow
def test_a_reset_applies_what_is_newer_than_the_dump(
    url: str, dumped: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    *earlier, last = migrations.migration_names()
    older = tmp_path / "schema.sql"
    with schema.scratch(url) as other:
        migrations.apply(other)
        migrations.rollback(other)
        header = "".join(f"--   {name}\n" for name in earlier)
        older.write_text(header + "\n\n".join(shape(other)), encoding="utf-8")
    monkeypatch.setattr(schema, "DUMP", older)
    schema.reset(url)
    assert ask(url, "SELECT count(*) FROM _yoyo_migration WHERE migration_id = %s", last) == [(1,)]
    assert dumped.endswith("\n\n" + "\n\n".join(shape(url)) + "\n")


def test_resets_and_migrations_at_the_same_time_wait_for_each_other(url: str, dumped: str) -> None:
    migrations.apply(url)
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda do: do(url), [schema.reset, migrations.apply, schema.reset, migrations.apply]))
    assert dumped.endswith("\n\n" + "\n\n".join(shape(url)) + "\n")


# --- refusals -----------------------------------------------------------------------------------------


def test_a_database_without_case_mapping_beyond_ascii_is_refused(server: str) -> None:
    name = f"chat_scratch_{token_hex(6)}"
    with closing(psycopg2.connect(server)) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            provider = (
                "LOCALE_PROVIDER libc" if connection.server_version >= 150_000 else ""
            )  # 14 has no other provider
            cursor.execute(f"CREATE DATABASE {name} TEMPLATE template0 ENCODING 'UTF8' LOCALE 'C' {provider}")
            try:
                for work in (migrations.apply, schema.reset, migrations.status, migrations.rollback):
                    with pytest.raises(SchemaError, match=f"{name} does not know the case of letters.*CREATE DATABASE"):
                        work(urlsplit(server)._replace(path=f"/{name}").geturl())
            finally:
                cursor.execute(f"DROP DATABASE {name} WITH (FORCE)")


def test_a_migration_that_fails_leaves_nothing(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(migrations, "MIGRATIONS", tmp_path)
    (tmp_path / "0001.good.sql").write_text("CREATE TABLE good (id int);")
    (tmp_path / "0002.bad.sql").write_text("CREATE TABLE half (id int); CREATE TABLE bad (id nonsense);")
    with pytest.raises(SchemaError, match='PostgreSQL rejects the migration: type "nonsense" does not exist'):
        migrations.apply(url)
    assert tables(url) == {"good"}
    assert migrations.status(url) == [("0001.good", True), ("0002.bad", False)]


def test_a_mismatch_of_schema_and_code_says_which_is_older() -> None:
    *earlier, last = migrations.migration_names()
    assert migrations.describe_mismatch([*earlier, last]) is None
    assert (
        migrations.describe_mismatch(earlier)
        == f"The schema is older than the code (without {last}). Run `make db-migrate`."
    )
    assert "older" in (migrations.describe_mismatch([]) or "")
    newer = migrations.describe_mismatch([*earlier, last, "9999.from-the-future"])
    assert newer == "The schema is newer than the code (with 9999.from-the-future). Update the code."


@pytest.mark.parametrize("url", [f"postgresql://chat:hush@127.0.0.1:{free_port()}/chat", "postgresql://h/d?nonsense=1"])
def test_a_server_that_cannot_be_reached_is_an_error_without_the_password(url: str) -> None:
    with pytest.raises(SchemaError, match=r"(?s)PostgreSQL cannot be reached.*make services") as caught:
        migrations.apply(url)
    assert "hush" not in str(caught.value)


# --- small things -------------------------------------------------------------------------------------


def test_a_scratch_database_is_gone_afterwards_even_in_use(server: str) -> None:
    with schema.scratch(server) as url:
        name = urlsplit(url).path.lstrip("/")
        connection = psycopg2.connect(url)
    connection.close()
    assert ask(server, "SELECT 1 FROM pg_database WHERE datname = %s", name) == []


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("postgresql://u:p@db.example.com:5432/chat", "db.example.com"),
        ("postgresql://localhost/chat?host=db.example.com", "db.example.com"),
        ("postgresql://localhost/chat?hostaddr=192.0.2.1", "192.0.2.1"),
        ("postgresql://localhost,db.example.com/chat", "localhost,db.example.com"),
        ("postgresql://[::1]/chat", "::1"),
        ("postgresql:///chat?host=/run/postgresql", "/run/postgresql"),
        ("postgresql:///chat", "localhost"),
    ],
)
def test_where_a_database_is(url: str, host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PGHOST", raising=False)
    assert migrations.host(url) == host


def test_the_environment_may_say_where_a_database_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGHOST", "db.example.com")
    assert migrations.host("postgresql:///chat") == "db.example.com"


def test_a_new_migration_comes_after_the_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(migrations, "MIGRATIONS", tmp_path)
    for name in ("0001.users", "0002.rooms"):
        (tmp_path / f"{name}.sql").touch()
        (tmp_path / f"{name}.rollback.sql").touch()
    assert [path.name for path in schema.create_migration("add-2-things")] == [
        "0003.add-2-things.sql",
        "0003.add-2-things.rollback.sql",
    ]
    assert "-- depends: 0002.rooms\n" in (tmp_path / "0003.add-2-things.sql").read_text()
    assert migrations.migration_names() == ["0001.users", "0002.rooms", "0003.add-2-things"]


@pytest.mark.parametrize("name", ["", "Add", "two words", "../x", "naïve", "x.y", "²", "a\n"])
def test_other_names_of_migrations_are_refused(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(migrations, "MIGRATIONS", tmp_path)
    with pytest.raises(SchemaError, match="NAME="):
        schema.create_migration(name)
    assert list(tmp_path.iterdir()) == []
