"""Migrations. The only module that knows yoyo; it runs beside the server, never in it."""

import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import psycopg2
from psycopg2.extensions import parse_dsn

from chat.db.statements import data_folder
from chat.errors import OperatorError

MIGRATIONS = data_folder("migrations")
_LOCK = 0x63686174  # "chat": the advisory lock that keeps two migrators apart


class SchemaError(OperatorError):
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


def check_local(url: str, *, force: bool) -> None:
    """Raise `SchemaError` for a database on another machine, unless forced: what follows destroys data."""
    where = host(url)
    if not force and where not in ("localhost", "127.0.0.1", "::1") and not where.startswith("/"):
        raise SchemaError(f"the database is on {where}, not on this machine: this needs --force (make … FORCE=1)")


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
    with connect(url) as connection, connection.cursor() as cursor:
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


@contextmanager
def connect(url: str) -> Iterator[Any]:
    try:
        connection = psycopg2.connect(url, connect_timeout=5)
    except psycopg2.Error as error:
        raise SchemaError(f"PostgreSQL cannot be reached: {str(error).strip()}; run `make services`") from None
    with closing(connection):
        yield connection


@contextmanager
def _backend(url: str) -> Iterator[tuple[Any, Any]]:
    """yoyo's backend and our migrations, with everybody else kept out."""
    with exclusive(url), yoyo_backend(url) as found:
        yield found


@contextmanager
def exclusive(url: str) -> Iterator[None]:
    """One migrator at a time; the others wait here."""
    _check_letters(url)
    with connect(url) as guard, guard.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock(%s)", [_LOCK])
        try:
            yield
        except psycopg2.Error as error:  # no right to do it, or a migration is wrong
            raise SchemaError(f"PostgreSQL refuses: {str(error).strip()}") from error


@contextmanager
def yoyo_backend(url: str) -> Iterator[tuple[Any, Any]]:
    import yoyo

    backend = yoyo.get_backend(url)
    try:
        backend.break_lock()  # of a migrator that was killed: whoever lives waits for the advisory lock
        yield backend, yoyo.read_migrations(str(MIGRATIONS))
    finally:
        backend.connection.close()


def _check_letters(url: str) -> None:
    """Names are unique whatever the case, so the database must know the case of more than ASCII."""
    with connect(url) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT current_database(), current_setting('server_encoding')")
        database, encoding = cursor.fetchone()
        if encoding == "UTF8":
            cursor.execute("SELECT lower('É') = 'é'")
        if encoding != "UTF8" or not cursor.fetchone()[0]:
            raise SchemaError(
                f"the database {database} does not know letters beyond ASCII; create it with "
                f"CREATE DATABASE {database} TEMPLATE template0 ENCODING 'UTF8' LOCALE 'C.UTF-8'"
            )
