"""The environment of a workload: a scratch database with accounts and rooms, signed tokens, and a server on it."""

import http.client
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from secrets import token_hex
from typing import Any, NamedTuple

import psycopg2

from chat import config
from chat.auth.tokens import Tokens
from devtools import schema
from tests.bench import machine
from tests.bench.wires import InvalidRun, LoadClient, LoadClients, frame, now
from tests.support.client import password_hash
from tests.support.processes import free_port
from tests.support.settings import ROOT
from tests.support.websocket_bytes import upgrade_request

FIRST_SEQ = 1_000_000  # rooms begin here, so that all numbers of a run are as long as one another
START_S = 20.0
HOUR = "3600"


class Account(NamedTuple):
    id: int
    token: str


@dataclass
class Environment:
    """A scratch database.

    url: its address.
    version: the version of PostgreSQL.
    """

    url: str
    amqp_url: str
    secret: str
    epoch: str
    version: str
    connection: Any

    def sql(self, text: str, *values: Any) -> list[tuple[Any, ...]]:
        """Run a statement and return its rows."""
        with self.connection.cursor() as cursor:
            cursor.execute(text, values or None)
            return list(cursor.fetchall()) if cursor.description else []

    @property
    def name(self) -> str:
        return self.url.rsplit("/", 1)[1].split("?")[0]

    def accounts(self, count: int) -> list[Account]:
        """Create accounts with tokens. All have the password of the tests."""
        prefix = token_hex(3)
        rows = self.sql(
            "INSERT INTO users (username, email, password_hash) "
            "SELECT %s || to_char(n, 'FM00000'), %s || to_char(n, 'FM00000') || '@example.com', %s "
            "FROM generate_series(1, %s) AS n RETURNING id, username, email",
            f"p-{prefix}-",
            f"p-{prefix}-",
            password_hash(),
            count,
        )
        tokens = Tokens(self.secret, ttl_s=86_400, epoch=self.epoch)
        return [Account(row[0], tokens.issue(*row)[0]) for row in sorted(rows)]

    def rooms(self, count: int) -> list[int]:
        """Create rooms, numbered as if each had a million events."""
        rows = self.sql(
            "INSERT INTO rooms (name, last_seq, last_message_no) "
            "SELECT %s || n, %s, %s FROM generate_series(1, %s) AS n RETURNING id",
            f"room-{token_hex(4)}-",
            FIRST_SEQ,
            FIRST_SEQ,
            count,
        )
        return sorted(row[0] for row in rows)

    def join(self, pairs: Sequence[tuple[int, int]]) -> None:
        """Insert (room, user) pairs as members."""
        self.sql(
            "INSERT INTO members (room_id, user_id) SELECT * FROM unnest(%s::bigint[], %s::bigint[])",
            [room for room, _ in pairs],
            [user for _, user in pairs],
        )
        self.sql(
            "UPDATE rooms SET member_count = (SELECT count(*) FROM members WHERE room_id = id) WHERE id = ANY (%s)",
            list({room for room, _ in pairs}),
        )

    def settle(self) -> None:
        """Vacuum and analyze, so that the planner has statistics and no vacuum starts during a run."""
        self.sql("VACUUM ANALYZE")

    def commits(self) -> int:
        """A number that rises by one with each transaction that writes; in the whole cluster."""
        return int(self.sql("SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint")[0][0])


@contextmanager
def environment() -> Iterator[Environment]:
    """A scratch database on the server of .env or the environment, dropped at the end."""
    found = config.load(dotenv=ROOT / ".env")
    with schema.scratch(found.database_url) as url:
        schema.reset(url)
        connection = psycopg2.connect(url)
        connection.autocommit = True
        try:
            env = Environment(url, found.amqp_url, token_hex(32), "", "", connection)
            env.epoch = env.sql("SELECT id::text FROM epoch")[0][0]
            env.version = env.sql("SHOW server_version")[0][0].split()[0]
            yield env
        finally:
            connection.close()


class Spent(NamedTuple):
    """CPU seconds."""

    server: float
    postgres: float
    rabbitmq: float


class Clocks(NamedTuple):
    """CPU seconds of each process, by its id, at one moment."""

    server: dict[int, float]
    postgres: dict[int, float]
    rabbitmq: dict[int, float]

    def __sub__(self, before: "Clocks") -> Spent:
        return Spent(
            *(sum(now - old.get(pid, 0.0) for pid, now in new.items()) for new, old in zip(self, before, strict=True))
        )


class MeasuredServer:
    """A running server of any kind.

    pids: its processes, without their children.
    ports: where it listens. Clients take them in turn.
    database: the one it works with, if any.
    broker: whether it works with RabbitMQ.
    """

    def __init__(self, pids: Sequence[int], ports: Sequence[int], database: str = "", *, broker: bool = False) -> None:
        self.pids, self.ports, self._database = pids, ports, database
        self._rabbitmq = machine.rabbitmq_pids() if broker else []

    @property
    def port(self) -> int:
        return self.ports[0]

    def spent(self) -> Clocks:
        """CPU time so far of its process trees and of the services. Subtract two of these for the time between."""
        return Clocks(
            machine.cpu_s(each for pid in self.pids for each in machine.tree(pid)),
            machine.cpu_s(machine.postgres_pids(self._database) if self._database else ()),
            machine.cpu_s(self._rabbitmq),
        )

    def memory_kib(self) -> float:
        return sum(map(machine.memory_kib, self.pids))


@contextmanager
def chat_server(
    env: Environment, *, cores: Sequence[int] = (machine.SERVER_CORE,), **settings: str
) -> Iterator[MeasuredServer]:
    """`chat serve` on the environment, without a rate limit. Pings are off by default: they would be counted."""
    port = free_port()
    variables = {
        "DATABASE_URL": env.url,
        "AMQP_URL": env.amqp_url,
        "AMQP_PREFIX": f"bench-{token_hex(4)}.",
        "JWT_SECRET": env.secret,
        "PORT": str(port),
        "RATE_LIMIT_PER_S": "0",
        "PING_INTERVAL_S": HOUR,
        "PING_TIMEOUT_S": HOUR,
        **settings,
    }
    with child([sys.executable, "-m", "chat", "serve"], variables, cores) as process:
        answers(process, port, "/health/ready", whole='"broker":"ok"')
        yield MeasuredServer([process.pid], [port], env.name, broker=True)


@contextmanager
def chat_processes(env: Environment, count: int) -> Iterator[MeasuredServer]:
    """One chat of `count` workers on one port, which may use all cores."""
    with chat_server(env, cores=machine.CORES, WORKERS=str(count)) as server:
        yield server


@contextmanager
def reference(name: str, *args: object) -> Iterator[MeasuredServer]:
    """A server of references.py."""
    port = free_port()
    command = [sys.executable, "-m", "tests.bench.references", name, str(port), *map(str, args)]
    with child(command, {}) as process:
        answers(process, port)
        yield MeasuredServer([process.pid], [port])


@contextmanager
def child(
    command: list[str], variables: dict[str, str], cores: Sequence[int] = (machine.SERVER_CORE,)
) -> Iterator[subprocess.Popen[bytes]]:
    """A process on these cores, killed at the end. If it exits by itself, its output is shown."""
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env={**os.environ, **variables},
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
            preexec_fn=machine.pin(*cores),
        )
        try:
            yield process
            if process.poll() is not None:
                said.seek(0)
                raise InvalidRun(f"{' '.join(command[1:4])} ended by itself: {said.read()[-2000:].decode()}")
        finally:
            process.kill()  # it has nothing to lose, and a graceful stop of ten thousand sockets takes long
            process.wait()


def answers(process: subprocess.Popen[bytes], port: int, path: str = "/", whole: str = "") -> None:
    """Wait until a server answers at `path` with `whole` somewhere in the answer."""
    deadline = now() + START_S
    while now() < deadline and process.poll() is None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=START_S)
        with suppress(OSError, http.client.HTTPException):
            connection.request("GET", path)
            if whole in connection.getresponse().read().decode():
                return
        connection.close()
        with suppress(subprocess.TimeoutExpired):
            process.wait(0.02)
    raise InvalidRun("the server did not start")


def go_live(load: LoadClients, places: Sequence[tuple[LoadClient, int]], after: int = FIRST_SEQ) -> None:
    """Resume the room for each client."""
    load.ask([(client, frame(type=11, chatroomId=room, after=after)) for client, room in places])


def chat_upgrade(server: MeasuredServer, account: Account) -> bytes:
    """The request with which an account opens a websocket of chat.v2."""
    return upgrade_request("/v1/ws", token=account.token)
