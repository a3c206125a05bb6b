"""Migrations and the dumped schema. The only module that knows yoyo; it runs beside the server, never in it.

`sql/schema.sql` is what the migrations make of an empty database, and says in its first lines which ones it
contains. It is dumped from a scratch database, so that nothing of a used one gets into it.
"""

import os
import re
import secrets
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg2
from psycopg2.extensions import parse_dsn

from chat.errors import Told

# yoyo is imported where it is used: the server asks this module only for names, and starts faster without it.

ROOT = Path(__file__).parent.parent
MIGRATIONS = ROOT / "migrations"
DUMP = ROOT / "sql" / "schema.sql"

_LOCK = 0x63686174  # "chat": the advisory lock that keeps two migrators apart
_HEADER = """\
-- The whole schema, dumped by `make db-migrate`: do not edit. It contains the migrations
{names}
"""


class SchemaError(Told):
    """The database cannot be brought to the schema, or is not at it; the text says what to do."""


def names() -> list[str]:
    """The migrations of this code, oldest first."""
    files = MIGRATIONS.glob("*.sql")
    return sorted(file.stem for file in files if not file.stem.endswith(".rollback"))


def difference(applied: list[str]) -> str | None:
    """Why this code cannot run on a database with these migrations, or None if it can."""
    missing = [name for name in names() if name not in applied]
    unknown = [name for name in applied if name not in names()]
    if missing:
        return f"the schema is older than the code (without {', '.join(missing)}): run `make db-migrate`"
    if unknown:
        return f"the schema is newer than the code (with {', '.join(unknown)}): update the code"
    return None


def apply(url: str) -> list[str]:
    """Applies what is missing; their names. Safe to call from several processes at once."""
    if _is_current(url):
        return []
    with _backend(url) as (backend, migrations):
        todo = backend.to_apply(migrations)
        backend.apply_migrations(todo)
        return [each.id for each in todo]


def _is_current(url: str) -> bool:
    """Whether there is nothing to apply, found out without yoyo: so it mostly is, and whoever starts waits for it."""
    with _connection(url) as connection, connection.cursor() as cursor:
        try:
            cursor.execute("SELECT migration_id FROM _yoyo_migration")
        except psycopg2.errors.UndefinedTable:
            return False
        return {row[0] for row in cursor.fetchall()} >= set(names())


def rollback(url: str, count: int = 1) -> list[str]:
    """Takes back the last `count` migrations; their names. A rollback that would destroy used rows fails."""
    with _backend(url) as (backend, migrations):
        todo = backend.to_rollback(migrations)[:count]
        try:
            backend.rollback_migrations(todo)
        except psycopg2.IntegrityError as error:
            raise SchemaError(f"not taken back: it would destroy rows in use ({error.diag.message_primary})") from None
        return [each.id for each in todo]


def status(url: str) -> list[tuple[str, bool]]:
    """Each migration of this code, and whether the database has it."""
    with _backend(url) as (backend, migrations):
        return [(each.id, backend.is_applied(each)) for each in migrations]


def reset(url: str) -> None:
    """Destroys everything in the database and builds it anew: the dumped schema, then newer migrations."""
    text = DUMP.read_text(encoding="utf-8")
    contained = {line.removeprefix("--   ") for line in text.splitlines() if line.startswith("--   ")}
    with _alone(url):
        with _connection(url) as connection, connection, connection.cursor() as cursor:
            cursor.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public;")
            cursor.execute(text)
        with _yoyo(url) as (backend, migrations):
            backend.mark_migrations([each for each in migrations if each.id in contained])
            backend.apply_migrations(backend.to_apply(migrations))


def dump(url: str) -> str:
    """What sql/schema.sql has to be, from a scratch database on the same server."""
    with scratch(url) as scratch_url:
        apply(scratch_url)
        with _connection(scratch_url) as connection, connection.cursor() as cursor:
            cursor.execute((ROOT / "sql" / "schema" / "dump.sql").read_text(encoding="utf-8"), {})
            statements = [row[0] for row in cursor.fetchall()]
    header = _HEADER.format(names="\n".join(f"--   {name}" for name in names()))
    return header + "\n" + "\n\n".join(statements) + "\n"


@contextmanager
def scratch(url: str) -> Iterator[str]:
    """The URL of a new, empty database on the same server, dropped at the end."""
    name = f"chat_scratch_{secrets.token_hex(6)}"
    with _connection(url) as connection:
        connection.autocommit = True  # CREATE DATABASE does not run in a transaction
        try:
            with connection.cursor() as cursor:
                cursor.execute(f"CREATE DATABASE {name} TEMPLATE template0 ENCODING 'UTF8'")
        except psycopg2.errors.InsufficientPrivilege:
            user = urlsplit(url).username
            raise SchemaError(f"the user {user} may not create databases: ALTER USER {user} CREATEDB") from None
        try:
            parts = urlsplit(url)  # urlunsplit would take the slashes from a URL without a host
            yield f"{parts.scheme}://{parts.netloc}/{name}" + (f"?{parts.query}" if parts.query else "")
        finally:
            with connection.cursor() as cursor:
                cursor.execute(f"DROP DATABASE {name} WITH (FORCE)")


def host(url: str) -> str:
    """Where the database is: a host, or the folder of a socket on this machine. The driver listens to the environment,
    too, and a service's file may say anything."""
    try:
        named = parse_dsn(url)
    except psycopg2.ProgrammingError as error:
        raise SchemaError(f"DATABASE_URL cannot be read: {str(error).strip()}") from None
    if service := named.get("service") or os.environ.get("PGSERVICE"):
        return f"service {service}"
    address = named.get("hostaddr") or os.environ.get("PGHOSTADDR")
    return str(address or named.get("host") or os.environ.get("PGHOST") or "localhost")


def new(name: str) -> list[Path]:
    """Two empty files for the next migration and its way back. `name`: a few words, a-z, 0-9 and -."""
    if not re.fullmatch("[a-z0-9-]+", name):
        raise SchemaError(f"NAME={name!r}: lower-case letters, digits and - are expected")
    last = names()[-1]
    stem = f"{int(last.split('.')[0]) + 1:04}.{name}"
    files = {
        MIGRATIONS / f"{stem}.sql": f"-- Why.\n-- depends: {last}\n\n",
        MIGRATIONS / f"{stem}.rollback.sql": "-- The way back; it destroys no used rows.\n",
    }
    for path, text in files.items():
        path.write_text(text, encoding="utf-8")
    return list(files)


@contextmanager
def _connection(url: str) -> Iterator[Any]:
    try:
        connection = psycopg2.connect(url, connect_timeout=5)
    except psycopg2.Error as error:
        raise SchemaError(f"PostgreSQL cannot be reached: {str(error).strip()}; run `make services`") from None
    with closing(connection):
        yield connection


@contextmanager
def _backend(url: str) -> Iterator[tuple[Any, Any]]:
    """yoyo's backend and our migrations, with everybody else kept out."""
    with _alone(url), _yoyo(url) as found:
        yield found


@contextmanager
def _alone(url: str) -> Iterator[None]:
    """One migrator at a time; the others wait here."""
    _check_letters(url)
    with _connection(url) as guard, guard.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock(%s)", [_LOCK])
        try:
            yield
        except psycopg2.Error as error:  # no right to do it, or a migration is wrong
            raise SchemaError(f"PostgreSQL refuses: {str(error).strip()}") from error


@contextmanager
def _yoyo(url: str) -> Iterator[tuple[Any, Any]]:
    import yoyo

    backend = yoyo.get_backend(url)
    try:
        backend.break_lock()  # of a migrator that was killed: whoever lives waits for the advisory lock
        yield backend, yoyo.read_migrations(str(MIGRATIONS))
    finally:
        backend.connection.close()


def _check_letters(url: str) -> None:
    """Names are unique whatever the case, so the database must know the case of more than ASCII."""
    with _connection(url) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT current_database(), current_setting('server_encoding')")
        database, encoding = cursor.fetchone()
        if encoding == "UTF8":
            cursor.execute("SELECT lower('É') = 'é'")
        if encoding != "UTF8" or not cursor.fetchone()[0]:
            raise SchemaError(
                f"the database {database} does not know letters beyond ASCII; create it with "
                f"CREATE DATABASE {database} TEMPLATE template0 ENCODING 'UTF8' LOCALE 'C.UTF-8'"
            )
