"""The dumped schema, scratch databases, and new migrations.

`sql/schema.sql` is what the migrations make of an empty database, and says in its first lines which ones it
contains. It is dumped from a scratch database, so that nothing of a used one gets into it.
"""

import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import psycopg2

from chat.db import migrations
from chat.db.migrations import SchemaError, apply, connect, exclusive, names, yoyo_backend

ROOT = Path(__file__).parent.parent
DUMP = ROOT / "sql" / "schema.sql"
_HEADER = """\
-- The whole schema, dumped by `make db-migrate`: do not edit. It contains the migrations
{names}
"""


def reset(url: str) -> None:
    """Destroys everything in the database and builds it anew: the dumped schema, then newer migrations."""
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
    """What sql/schema.sql has to be, from a scratch database on the same server."""
    with scratch(url) as scratch_url:
        apply(scratch_url)
        with connect(scratch_url) as connection, connection.cursor() as cursor:
            cursor.execute((ROOT / "sql" / "schema" / "dump.sql").read_text(encoding="utf-8"), {})
            statements = [row[0] for row in cursor.fetchall()]
    header = _HEADER.format(names="\n".join(f"--   {name}" for name in names()))
    return header + "\n" + "\n\n".join(statements) + "\n"


@contextmanager
def scratch(url: str) -> Iterator[str]:
    """The URL of a new, empty database on the same server, dropped at the end."""
    name = f"chat_scratch_{secrets.token_hex(6)}"
    with connect(url) as connection:
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


def new(name: str) -> list[Path]:
    """Two empty files for the next migration and its way back. `name`: a few words, a-z, 0-9 and -."""
    if not re.fullmatch("[a-z0-9-]+", name):
        raise SchemaError(f"NAME={name!r}: lower-case letters, digits and - are expected")
    last = names()[-1]
    stem = f"{int(last.split('.')[0]) + 1:04}.{name}"
    files = {
        migrations.MIGRATIONS / f"{stem}.sql": f"-- Why.\n-- depends: {last}\n\n",
        migrations.MIGRATIONS / f"{stem}.rollback.sql": "-- The way back; it destroys no used rows.\n",
    }
    for path, text in files.items():
        path.write_text(text, encoding="utf-8")
    return list(files)
