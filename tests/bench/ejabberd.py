"""ejabberd, a chat server that many teams use: from Debian, as a reference for *day* and *lone*.

It runs privately, in a temporary folder, with one port on the loopback, no Erlang distribution, and a scratch database.
Groups are XMPP's multi-user chat (XEP-0045), archived in PostgreSQL (XEP-0313), with the modules that this needs and no
other; there is no shaper and no TLS. The load speaks as much XMPP as that takes, on plain sockets.
"""

import base64
import re
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from glob import glob
from pathlib import Path
from urllib.parse import urlsplit

from chat.db.migrations import connect
from devtools import processes, schema
from tests.bench.crowd import Crowd, Rooms, one_room_each
from tests.bench.environment import START_S, Environment, MeasuredServer, child
from tests.bench.tools import installed
from tests.bench.wires import InvalidRun, LoadClients
from tests.support.processes import free_port

PACKAGES = ("ejabberd", "erlang-p1-pgsql")
TABLES = "/usr/lib/*/ejabberd-*/priv/sql/lite.sql"
FILES = (TABLES, "/usr/lib/erlang/lib/p1_pgsql-*")
PASSWORD = "correct horse"
CONFIGURATION = """
hosts: [localhost]
loglevel: warning
listen:
  - {{port: {port}, ip: "127.0.0.1", module: ejabberd_c2s, backlog: 1000, shaper: none, access: all}}
auth_method: sql
auth_password_format: plain
default_db: sql
sql_type: pgsql
sql_server: "{sql.hostname}"
sql_port: {sql.port}
sql_database: "{database}"
sql_username: "{sql.username}"
sql_password: "{sql.password}"
modules:
  mod_muc:
    access_create: all
    access_persistent: all
    access_mam: all
    default_room_options: {{persistent: true, mam: true}}
  mod_mam: {{}}
"""
STREAM = (
    "<stream:stream to='localhost' version='1.0' xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>"
)
AUTH = "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>{}</auth>"
BIND = b"<iq type='set' id='bind'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>"
JOIN = (
    "<presence to='room-{}@conference.localhost/person-{}'>"
    "<x xmlns='http://jabber.org/protocol/muc'><history maxstanzas='0'/></x></presence>"
)
MESSAGE = "<message to='room-{}@conference.localhost' type='groupchat' id='{}'><body>{}</body></message>"
RECEIVED = re.compile(rb"<message ([^>]*)>.*?</message>", re.DOTALL)
ID = re.compile(rb"(?:^| )id='([^']+)'")
REFUSED = (b"<failure", b"<stream:error", b"type='error'")


@contextmanager
def ejabberd_crowd(env: Environment, rooms: Rooms, people: int) -> Iterator[Crowd | None]:
    """The people on ejabberd; None where it cannot be had."""
    if not installed("ejabberd", FILES, PACKAGES, ("ejabberd",)):
        yield None
        return
    with (
        schema.scratch(env.url) as url,
        tempfile.TemporaryDirectory(prefix="ejabberd-") as folder,
        _server(url, Path(folder), people) as server,
        LoadClients(*server.ports) as load,
    ):
        clients = [load.plain() for _ in range(people)]
        for text, end in ((STREAM, b"</stream:features>"), (AUTH, b"<success"), (STREAM, b"</stream:features>")):
            said = [(client, text.format(_plain(person)).encode()) for person, client in enumerate(clients)]
            load.exchange(said, _ends_with(end))
        load.exchange([(client, BIND) for client in clients], _ends_with(b"</iq>"))
        for places in one_room_each(rooms, people):  # the first one in a room makes it, the subject ends the entering
            joins = [(clients[person], JOIN.format(room, person).encode()) for person, room in places]
            load.exchange(joins, _ends_with(b"<subject"))
        load.quiet(1.0)

        def message(room: int, name: str, text: str) -> bytes:
            return MESSAGE.format(room, name, text).encode()

        yield Crowd(server, load, clients, rooms, message, copies)
        with connect(url) as connection, connection.cursor() as cursor:
            cursor.execute("SELECT FROM archive LIMIT 1")
            if not cursor.rowcount:
                raise InvalidRun("ejabberd archived nothing")


def copies(data: bytearray, start: int) -> Iterator[tuple[str, int]]:
    """The messages in a stream of XMPP."""
    for found in RECEIVED.finditer(data, start):
        if b"type='error'" in found[1]:
            raise InvalidRun(f"refused: {found[0]!r}")
        if name := ID.search(found[1]):
            yield name[1].decode(), found.end()


@contextmanager
def _server(url: str, folder: Path, people: int) -> Iterator[MeasuredServer]:
    port, sql, tables = free_port(), urlsplit(url), Path(glob(TABLES)[0])
    _create(url, tables.read_text(), people)
    configuration = folder / "ejabberd.yml"
    configuration.touch(mode=0o600)
    configuration.write_text(CONFIGURATION.format(port=port, sql=sql, database=sql.path[1:]))
    variables = {
        "EJABBERD_CONFIG_PATH": str(configuration),
        "EJABBERD_LOG_PATH": str(folder / "log" / "ejabberd.log"),
        "ERL_CRASH_DUMP_BYTES": "0",
        "ERL_LIBS": str(tables.parents[3]),
        "HOME": str(folder),
    }
    command = ["erl", "+P", "250000", "-noinput", "-mnesia", "dir", f'"{folder}/spool"', "-s", "ejabberd"]
    with child(command, variables) as process:
        if not processes.wait_until(lambda: processes.listens("127.0.0.1", port), START_S):
            raise InvalidRun("ejabberd did not start")
        yield MeasuredServer([process.pid], [port], sql.path[1:])


def _create(url: str, tables: str, people: int) -> None:
    """Create the tables and the accounts. Debian's package has the tables for SQLite alone."""
    for lite, full in (
        ("INTEGER PRIMARY KEY AUTOINCREMENT", "bigserial PRIMARY KEY"),
        (" UNSIGNED", ""),
        (" blob ", " bytea "),
    ):
        tables = tables.replace(lite, full)
    with connect(url) as connection, connection, connection.cursor() as cursor:
        cursor.execute(tables)
        cursor.execute(
            "INSERT INTO users (username, password) SELECT 'p' || n, %s FROM generate_series(0, %s - 1) AS n",
            [PASSWORD, people],
        )


def _plain(person: int) -> str:
    """The name and the password of a person, for SASL's PLAIN."""
    return base64.b64encode(f"\0p{person}\0{PASSWORD}".encode()).decode()


def _ends_with(end: bytes) -> Callable[[bytearray], bool]:
    """Whether an answer is whole: it has what comes last in it. Raises `InvalidRun`."""

    def is_whole(heard: bytearray) -> bool:
        if any(each in heard for each in REFUSED):
            raise InvalidRun(f"ejabberd refused: {bytes(heard[-500:])!r}")
        return end in heard

    return is_whole
