"""The schema dump, scratch databases and new migrations.

`sql/schema.sql` is the schema that all migrations produce, dumped from a scratch database so that nothing of a used one
gets into it. Its first lines name the migrations that it contains.
"""

import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg2

from chat.db import migrations
from chat.db.migrations import SchemaError, apply, connect, exclusive, migration_names, yoyo_backend

ROOT = Path(__file__).parent.parent
DUMP = ROOT / "sql" / "schema.sql"
QUERIES = ROOT / "sql" / "schema"
_HEADER = """\
-- The whole schema, dumped by `make db-migrate`: do not edit. It contains the migrations
{names}
"""


def reset(url: str) -> None:
    """Destroy everything in the database, then create the dumped schema and apply the migrations that are newer."""
    text = DUMP.read_text(encoding="utf-8")
    contained = {line.removeprefix("--   ") for line in text.splitlines() if line.startswith("--   ")}
    with exclusive(url):
        with connect(url) as connection, connection, connection.cursor() as cursor:
            cursor.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public;")
            cursor.execute(text)
        with yoyo_backend(url) as (backend, known):
            backend.mark_migrations([each for each in known if each.id in contained])
            backend.apply_migrations(backend.to_apply(known))


def dump(url: str) -> str:
    """Return the text that sql/schema.sql must have, made with a scratch database on the same server."""
    with scratch(url) as scratch_url:
        apply(scratch_url)
        with connect(scratch_url) as connection:
            found = statements(connection)
    header = _HEADER.format(names="\n".join(f"--   {name}" for name in migration_names()))
    return header + "\n" + "\n\n".join(found) + "\n"


def statements(connection: Any) -> list[str]:
    """Return the statements that create a database's schema. Raises `SchemaError` for what they cannot express.

    The connection is psycopg2's; its transaction goes on.
    """
    with connection.cursor() as cursor:
        cursor.execute((QUERIES / "list_unsupported.sql").read_text(encoding="utf-8"), {})
        if unsupported := [row[0] for row in cursor.fetchall()]:
            raise SchemaError(
                f"sql/schema/dump.sql cannot express this: {'; '.join(unsupported)}. "
                "Extend it, or do without in the migrations."
            )
        cursor.execute((QUERIES / "dump.sql").read_text(encoding="utf-8"), {})
        rows = cursor.fetchall()
    if circular := [text.partition("\n")[0] for text, is_ordered in rows if not is_ordered]:
        raise SchemaError(
            f"sql/schema/dump.sql cannot put these in an order: {'; '.join(circular)}. "
            "They depend on each other in a circle; break it in the migrations."
        )
    return [text for text, _ in rows]


@contextmanager
def scratch(url: str) -> Iterator[str]:
    """Create an empty database on the same server and yield its URL. Drop it at the end, even if it is in use."""
    name = f"chat_scratch_{secrets.token_hex(6)}"
    with connect(url) as connection:
        connection.autocommit = True  # CREATE DATABASE does not run in a transaction
        try:
            with connection.cursor() as cursor:
                cursor.execute(f"CREATE DATABASE {name} TEMPLATE template0 ENCODING 'UTF8'")
        except psycopg2.errors.InsufficientPrivilege:
            user = urlsplit(url).username
            raise SchemaError(
                f"The database user {user} may not create databases. Allow it: ALTER USER {user} CREATEDB"
            ) from None
        try:
            parts = urlsplit(url)  # not urlunsplit, which drops the slashes of a URL without a host
            yield f"{parts.scheme}://{parts.netloc}/{name}" + (f"?{parts.query}" if parts.query else "")
        finally:
            with connection.cursor() as cursor:
                cursor.execute(f"DROP DATABASE {name} WITH (FORCE)")


def create_migration(name: str) -> list[Path]:
    """Create the two files of the next migration and its rollback. `name` consists of a-z, 0-9 and -."""
    if not re.fullmatch("[a-z0-9-]+", name):
        raise SchemaError(f"NAME={name!r} is not a migration's name. Use lower-case letters, digits and -.")
    last = migration_names()[-1]
    stem = f"{int(last.split('.')[0]) + 1:04}.{name}"
    files = {
        migrations.MIGRATIONS / f"{stem}.sql": f"-- Why.\n-- depends: {last}\n\n",
        migrations.MIGRATIONS / f"{stem}.rollback.sql": "-- It must not destroy rows that are in use.\n",
    }
    for path, text in files.items():
        path.write_text(text, encoding="utf-8")
    return list(files)
