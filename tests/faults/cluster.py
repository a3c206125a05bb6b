"""The cluster that the faults happen to: a private PostgreSQL, a private RabbitMQ, two servers, proxies between them.

clients ─ proxy ─ server ─ proxy ─ PostgreSQL
                     └──── proxy ─ RabbitMQ
"""

import asyncio
import contextlib
import dataclasses
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, Self

import psycopg2
import pytest

from chat.config import Settings
from devtools import processes, schema
from devtools.postgres import PrivatePostgres
from devtools.rabbitmq import PrivateRabbit
from tests.support.processes import descendants, free_port
from tests.support.proxy import Proxy
from tests.support.settings import ROOT, as_environment, settings_for

READY_S = 30.0
LONG = bool(os.environ.get("LONG"))  # the long form of these tests


class Services:
    """A PostgreSQL and a RabbitMQ that only these tests use."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.postgres = PrivatePostgres(folder / "postgres", port=free_port())
        self.rabbit = PrivateRabbit(folder / "rabbitmq", port=free_port())

    def start(self) -> None:
        self.postgres.start()
        self.start_rabbit()

    def start_rabbit(self) -> None:
        """Start RabbitMQ, with retries: a node may listen for a moment before it knows its user."""
        for _ in range(5):
            with contextlib.suppress(processes.ServiceError):
                return self.rabbit.start()
            time.sleep(1)
        self.rabbit.start()

    def stop(self) -> None:
        for pid in (*self.postgres_pids(), *self.rabbit_pids()):
            _signal(pid, signal.SIGCONT)
        self.rabbit.stop()
        self.postgres.stop()

    def postmaster(self) -> int:
        return int((self.postgres.data / "postmaster.pid").read_text().splitlines()[0])

    def postgres_pids(self) -> list[int]:
        """The postmaster and all processes that it has started."""
        with contextlib.suppress(OSError, ValueError, IndexError):
            return [self.postmaster(), *descendants(self.postmaster())]
        return []

    def rabbit_pids(self) -> list[int]:
        """The Erlang virtual machine without its helpers, which only wait for it."""
        with contextlib.suppress(OSError, ValueError):
            pid = int((self.rabbit.folder / "pid").read_text())
            return [each for each in (pid, *descendants(pid)) if "beam" in processes.command_of(each)]
        return []

    def connect(self) -> psycopg2.extensions.connection:
        """Connect as the superuser. The server may still be recovering from an earlier fault, so this retries."""
        deadline = time.monotonic() + READY_S
        while True:
            try:
                return psycopg2.connect(self.postgres.url, connect_timeout=5)
            except psycopg2.OperationalError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)

    def administer(self, *statements: str) -> None:
        """Run SQL statements, each in its own transaction."""
        connection = self.connect()
        try:
            connection.autocommit = True
            with connection.cursor() as cursor:
                for statement in statements:
                    cursor.execute(statement)
        finally:
            connection.close()

    def backends(self) -> list[int]:
        """The processes that serve our servers' connections."""
        return self._activity("pid")

    def client_ports(self) -> list[int]:
        """The ports from which our servers' connections come."""
        return self._activity("client_port")

    def _activity(self, column: str) -> list[int]:
        connection = self.connect()
        try:
            with connection.cursor() as cursor:
                cursor.execute(f"SELECT {column} FROM pg_stat_activity WHERE application_name LIKE 'chat %'")
                return [value for (value,) in cursor.fetchall()]
        finally:
            connection.close()


@contextlib.contextmanager
def private_services() -> Iterator[Services]:
    """Services in a temporary folder, deleted at the end. Skips the test where they are not installed."""
    folder = Path(tempfile.mkdtemp(prefix="chat-faults-"))
    folder.chmod(0o755)  # the servers' own users go through here
    services = Services(folder)
    if services.postgres.bin() is None or services.rabbit.bin() is None:
        shutil.rmtree(folder)
        pytest.skip("PostgreSQL and RabbitMQ have to be installed")
    try:
        services.start()
        schema.reset(services.postgres.url)
        yield services
    finally:
        services.stop()
        shutil.rmtree(folder, ignore_errors=True)


class LaggingProxy(Proxy):
    """A proxy that can deliver what it holds long after everything else."""

    def strand(self) -> asyncio.Event:
        """Call it after `hold`. What is in flight is held until the returned event is set; all later data passes."""
        stranded, self._flowing = self._flowing, asyncio.Event()
        self._flowing.set()
        return stranded


class ServerProcess:
    """`python -m chat serve`, with a proxy before it and two behind it. It may be killed and started again."""

    def __init__(self, name: str, settings: Settings, folder: Path) -> None:
        self.name, self._settings = name, settings
        self.port = free_port()
        self.log = folder / f"{name}.log"
        self.front = LaggingProxy("127.0.0.1", self.port)
        self.to_postgres = LaggingProxy.before(settings.database_url)
        self.to_rabbit = LaggingProxy.before(settings.amqp_url)
        self.process: asyncio.subprocess.Process | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.front.port}"

    async def start(self) -> None:
        """Start the process. Returns when it answers."""
        settings = dataclasses.replace(
            self._settings,
            port=self.port,
            database_url=self.to_postgres.instead_of(self._settings.database_url),
            amqp_url=self.to_rabbit.instead_of(self._settings.amqp_url),
        )
        with self.log.open("a") as log:
            self.process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "chat", "serve"),
                cwd=ROOT,
                env={**os.environ, **as_environment(settings)},
                stdin=asyncio.subprocess.DEVNULL,
                stderr=log,
            )
        async with asyncio.timeout(READY_S):
            while not await asyncio.to_thread(processes.listens, "127.0.0.1", self.port):
                assert self.process.returncode is None, f"{self.name} does not start; see {self.log}"
                await asyncio.sleep(0.05)

    def signal(self, number: signal.Signals) -> None:
        assert self.process is not None
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(number)

    async def ended(self, within_s: float = 15.0) -> int:
        assert self.process is not None
        return await asyncio.wait_for(self.process.wait(), within_s)

    async def kill(self) -> None:
        self.signal(signal.SIGKILL)
        await self.ended()

    def times_logged(self, text: str) -> int:
        return self.log.read_text().count(text)

    def memory_mb(self) -> float:
        """Resident memory of the process, in MB."""
        assert self.process is not None
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 1e6

    async def __aenter__(self) -> Self:
        for proxy in (self.front, self.to_postgres, self.to_rabbit):
            await proxy.__aenter__()
        try:
            await self.start()
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        self.front.cut()
        if self.process is not None and self.process.returncode is None:
            self.signal(signal.SIGCONT)
            self.signal(signal.SIGTERM)
            try:
                await self.ended(10)
            except TimeoutError:
                await self.kill()
        for proxy in (self.front, self.to_postgres, self.to_rabbit):
            await proxy.__aexit__()


ServerPair = tuple[ServerProcess, ServerProcess]


@contextlib.asynccontextmanager
async def two_servers(services: Services, **changed: Any) -> AsyncIterator[ServerPair]:
    """Two servers on the services, side by side."""
    settings = settings_for(
        services.postgres.url,
        amqp_url=services.rabbit.url,
        **{"ping_interval_s": 5.0, "ping_timeout_s": 2.5, **changed},
    )
    first, second = (ServerProcess(name, settings, services.folder) for name in ("one", "two"))
    async with first, second:
        yield first, second


def _signal(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
