"""Migrations. The only module that knows yoyo. It runs beside the server, never in it."""

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
    """The schema of the database is not, or cannot be made, what the code needs. The text says what to do."""


def migration_names() -> list[str]:
    """Return the names of this code's migrations, oldest first."""
    files = MIGRATIONS.glob("*.sql")
    return sorted(file.stem for file in files if not file.stem.endswith(".rollback"))


def describe_mismatch(applied: list[str]) -> str | None:
    """Return why this code cannot run on a database with these migrations, or None if it can."""
    known = migration_names()
    missing = [name for name in known if name not in applied]
    unknown = [name for name in applied if name not in known]
    if missing:
        return f"The schema is older than the code (without {', '.join(missing)}). Run `make db-migrate`."
    if unknown:
        return f"The schema is newer than the code (with {', '.join(unknown)}). Update the code."
    return None


def check_local(url: str, *, force: bool) -> None:
    """Raise `SchemaError` for a database on another machine, unless forced. Call it before destroying data."""
    where = host(url)
    if not force and where not in ("localhost", "127.0.0.1", "::1") and not where.startswith("/"):
        raise SchemaError(f"The database is on {where}, not on this machine. Use --force (make … FORCE=1) to allow it.")


def apply(url: str) -> list[str]:
    """Apply the migrations that are missing and return their names. Several processes may call it at the same time."""
    if _is_current(url):
        return []
    with _backend(url) as (backend, migrations):
        missing = backend.to_apply(migrations)
        backend.apply_migrations(missing)
        return [migration.id for migration in missing]


def _is_current(url: str) -> bool:
    """Whether all migrations are applied. Does not import yoyo, because this is the common case at the start."""
    with connect(url) as connection, connection.cursor() as cursor:
        try:
            cursor.execute("SELECT migration_id FROM _yoyo_migration")
        except psycopg2.errors.UndefinedTable:
            return False
        return {row[0] for row in cursor.fetchall()} >= set(migration_names())


def rollback(url: str, count: int = 1) -> list[str]:
    """Roll back the last `count` migrations and return their names. Raises `SchemaError` where rows are in use."""
    with _backend(url) as (backend, migrations):
        last = backend.to_rollback(migrations)[:count]
        try:
            backend.rollback_migrations(last)
        except psycopg2.IntegrityError as error:
            raise SchemaError(
                f"The migration was not rolled back, because rows are in use ({error.diag.message_primary}). "
                "Delete them first if they may go."
            ) from None
        return [migration.id for migration in last]


def status(url: str) -> list[tuple[str, bool]]:
    """Return each migration of this code, and whether it is applied to the database."""
    with _backend(url) as (backend, migrations):
        return [(migration.id, backend.is_applied(migration)) for migration in migrations]


def host(url: str) -> str:
    """Return where the database is: a host, or the folder of a socket on this machine, or the name of a service.

    The driver also reads the environment, and the file of a service may say anything.
    """
    try:
        named = parse_dsn(url)
    except psycopg2.ProgrammingError as error:
        raise SchemaError(f"DATABASE_URL cannot be read: {str(error).strip()}. Correct it.") from None
    if service := named.get("service") or os.environ.get("PGSERVICE"):
        return f"service {service}"
    address = named.get("hostaddr") or os.environ.get("PGHOSTADDR")
    return str(address or named.get("host") or os.environ.get("PGHOST") or "localhost")


@contextmanager
def connect(url: str) -> Iterator[Any]:
    """Connect for a while. Raises `SchemaError` if PostgreSQL cannot be reached."""
    try:
        connection = psycopg2.connect(url, connect_timeout=5)
    except psycopg2.Error as error:
        raise SchemaError(f"PostgreSQL cannot be reached: {str(error).strip()}. Run `make services`.") from None
    with closing(connection):
        yield connection


@contextmanager
def _backend(url: str) -> Iterator[tuple[Any, Any]]:
    """Yield yoyo's backend and our migrations while no other process migrates."""
    with exclusive(url), yoyo_backend(url) as found:
        yield found


@contextmanager
def exclusive(url: str) -> Iterator[None]:
    """Hold the lock that lets one process at a time migrate; the others wait here."""
    _check_case_mapping(url)
    with connect(url) as guard, guard.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock(%s)", [_LOCK])
        try:
            yield
        except psycopg2.Error as error:  # a privilege is missing, or a migration is wrong
            raise SchemaError(f"PostgreSQL rejects the migration: {str(error).strip()}") from error


@contextmanager
def yoyo_backend(url: str) -> Iterator[tuple[Any, Any]]:
    """Yield yoyo's backend and our migrations. The caller holds the lock of `exclusive`."""
    import yoyo

    backend = yoyo.get_backend(url)
    try:
        backend.break_lock()  # of a process that was killed: a living one holds the advisory lock
        yield backend, yoyo.read_migrations(str(MIGRATIONS))
    finally:
        backend.connection.close()


def _check_case_mapping(url: str) -> None:
    """Raise `SchemaError` if the database maps the case of ASCII letters only: names are unique whatever the case."""
    with connect(url) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT current_database(), current_setting('server_encoding')")
        database, encoding = cursor.fetchone()
        if encoding == "UTF8":
            cursor.execute("SELECT lower('É') = 'é'")
        if encoding != "UTF8" or not cursor.fetchone()[0]:
            raise SchemaError(
                f"The database {database} does not know the case of letters beyond ASCII. Create it with "
                f"CREATE DATABASE {database} TEMPLATE template0 ENCODING 'UTF8' LOCALE 'C.UTF-8'"
            )
