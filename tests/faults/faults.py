"""The faults. Each one breaks something, leaves it broken for a while, repairs it, and returns."""

import asyncio
import contextlib
import os
import random
import signal
import subprocess
import time
from collections.abc import Awaitable, Callable, Sequence

import psycopg2

from devtools import processes
from tests.faults.cluster import ServerProcess, Services

CONNECTIONS = 200  # more than the private PostgreSQL admits
GONE_S = 5.0  # what PostgreSQL takes to see that a client is gone, and more

Break = Callable[["Breaker"], Awaitable[None]]


class Breaker:
    """Breaks parts of the cluster, chosen by `chance`.

    held: factor on how long each fault is held.
    """

    def __init__(
        self,
        services: Services,
        servers: Sequence[ServerProcess],
        rooms: list[int],
        chance: random.Random,
        *,
        held: float = 1.0,
    ) -> None:
        self.services, self.servers, self.rooms, self.chance, self.held = services, servers, rooms, chance, held

    def server(self) -> ServerProcess:
        return self.chance.choice(self.servers)

    def seconds(self, minimum: float, maximum: float) -> float:
        return self.chance.uniform(minimum, maximum) * self.held

    async def wait(self, minimum: float, maximum: float) -> None:
        await asyncio.sleep(self.seconds(minimum, maximum))

    # --- a server ---------------------------------------------------------------------------------------

    async def kill_server(self) -> None:
        server = self.server()
        await server.kill()
        await self.wait(0, 1)
        await server.start()

    async def restart_server(self) -> None:
        server = self.server()
        server.signal(signal.SIGTERM)
        code = await server.ended()
        assert code == 0, f"the server {server.name} ended with {code}; see {server.log}"
        await self.wait(0, 0.5)
        await server.start()

    async def freeze_server(self) -> None:
        server = self.server()
        server.signal(signal.SIGSTOP)
        await self.wait(0.5, 4)
        server.signal(signal.SIGCONT)

    # --- PostgreSQL -------------------------------------------------------------------------------------

    async def kill_postgres(self) -> None:
        _send(self.services.postmaster(), signal.SIGKILL)
        await self.wait(0, 2)
        await asyncio.to_thread(self.services.postgres.start)

    async def kill_backend(self) -> None:
        _send(self.chance.choice(await self._backends()), signal.SIGKILL)

    async def end_backends(self) -> None:
        pids = await self._backends()
        for pid in self.chance.sample(pids, self.chance.randint(1, len(pids))):
            _send(pid, signal.SIGTERM)

    async def _backends(self) -> list[int]:
        while not (pids := await asyncio.to_thread(self.services.backends)):
            await asyncio.sleep(0.05)  # they are coming back from the fault before
        return pids

    async def freeze_postgres(self) -> None:
        await freeze_for(self.services.postgres_pids, self.seconds(0.5, 8))

    async def read_only(self, seconds: float | None = None) -> None:
        setting = "ALTER SYSTEM SET default_transaction_read_only = {}"
        reload = "SELECT pg_reload_conf()"
        await asyncio.to_thread(self.services.administer, setting.format("on"), reload)
        await asyncio.sleep(seconds or self.seconds(0.5, 6))
        writable = "SET default_transaction_read_only = off"
        await asyncio.to_thread(self.services.administer, writable, setting.format("off"), reload)

    async def use_up_connections(self, seconds: float | None = None, of: Sequence[ServerProcess] = ()) -> None:
        """Cut all connections of the servers `of` (by default one of them) and let them open no new ones."""
        losers = of or [self.server()]
        used: list[psycopg2.extensions.connection] = []
        try:
            for server in losers:
                server.to_postgres.refusing = True
                server.to_postgres.cut()
            await asyncio.to_thread(self._use_connections, used, [each for each in self.servers if each not in losers])
            for server in losers:
                server.to_postgres.refusing = False
            await asyncio.sleep(seconds or self.seconds(0.5, 3))
        finally:
            for server in losers:
                server.to_postgres.refusing = False
            for connection in used:
                connection.close()

    def _use_connections(self, used: list[psycopg2.extensions.connection], others: Sequence[ServerProcess]) -> None:
        """Take all free connections, once the cut ones are gone."""
        deadline = time.monotonic() + GONE_S
        while len(self.services.backends()) > sum(server.to_postgres.connections for server in others):
            if time.monotonic() > deadline:
                break
            time.sleep(0.02)
        with contextlib.suppress(psycopg2.OperationalError):
            for _ in range(CONNECTIONS):
                used.append(psycopg2.connect(self.services.postgres.url, connect_timeout=5))

    async def lock_room(self) -> None:
        connection = await asyncio.to_thread(self.services.connect)
        try:
            with connection.cursor() as cursor:
                lock = "SELECT 1 FROM rooms WHERE id = %s FOR UPDATE"
                await asyncio.to_thread(cursor.execute, lock, [self.chance.choice(self.rooms)])
            await self.wait(0.5, 4)
        finally:
            connection.close()

    # --- RabbitMQ ---------------------------------------------------------------------------------------

    async def kill_rabbit(self, seconds: float | None = None) -> None:
        for pid in self.services.rabbit_pids():
            _send(pid, signal.SIGKILL)
        await asyncio.sleep(seconds or self.seconds(0, 2))
        await asyncio.to_thread(self.services.start_rabbit)

    async def freeze_rabbit(self) -> None:
        await freeze_for(self.services.rabbit_pids, self.seconds(0.5, 8))

    async def fill_rabbits_memory(self, seconds: float | None = None) -> None:
        await asyncio.to_thread(self._set_watermark, "0.000001")
        await asyncio.sleep(seconds or self.seconds(0.5, 4))
        await asyncio.to_thread(self._set_watermark, "0.4")

    def _set_watermark(self, fraction: str) -> None:
        rabbit = self.services.rabbit
        folder = rabbit.bin()
        assert folder is not None
        command = [str(folder / "rabbitmqctl"), "-n", rabbit.node, "set_vm_memory_high_watermark", fraction]
        user = processes.as_user(processes.server_user("rabbitmq"))
        for _ in range(5):  # a node that has just come back may not know itself yet
            done = subprocess.run(command, env=rabbit.environment(), cwd=rabbit.folder, capture_output=True, **user)
            if done.returncode == 0:
                return
            time.sleep(1)
        raise AssertionError(f"rabbitmqctl: {done.stderr.decode()}")

    # --- the network ------------------------------------------------------------------------------------

    async def reset_all_sockets(self) -> None:
        for server in self.servers:
            server.front.cut()

    async def end_all_sockets(self) -> None:
        for server in self.servers:
            server.front.finish()

    async def black_hole_for_clients(self) -> None:
        await self.black_hole("front", 0.5, 6)

    async def reset_postgres(self) -> None:
        self.server().to_postgres.cut()

    async def black_hole_for_postgres(self) -> None:
        await self.black_hole("to_postgres", 0.5, 8)

    async def reset_rabbit(self) -> None:
        self.server().to_rabbit.cut()

    async def black_hole_for_rabbit(self) -> None:
        await self.black_hole("to_rabbit", 0.5, 8)

    async def black_hole(self, link: str, minimum: float, maximum: float) -> None:
        proxy = getattr(self.server(), link)
        proxy.hold()
        await self.wait(minimum, maximum)
        proxy.release()
        if self.chance.random() < 0.5:
            proxy.cut()


KINDS: dict[str, Break] = {
    "server: kill -9": Breaker.kill_server,
    "server: SIGTERM": Breaker.restart_server,
    "server: SIGSTOP": Breaker.freeze_server,
    "PostgreSQL: kill -9": Breaker.kill_postgres,
    "PostgreSQL: kill -9 of a backend": Breaker.kill_backend,
    "PostgreSQL: backends ended": Breaker.end_backends,
    "PostgreSQL: SIGSTOP": Breaker.freeze_postgres,
    "PostgreSQL: read-only": Breaker.read_only,
    "PostgreSQL: out of connections": Breaker.use_up_connections,
    "PostgreSQL: a room locked": Breaker.lock_room,
    "PostgreSQL: RST": Breaker.reset_postgres,
    "PostgreSQL: black hole": Breaker.black_hole_for_postgres,
    "RabbitMQ: kill -9": Breaker.kill_rabbit,
    "RabbitMQ: SIGSTOP": Breaker.freeze_rabbit,
    "RabbitMQ: memory alarm": Breaker.fill_rabbits_memory,
    "RabbitMQ: RST": Breaker.reset_rabbit,
    "RabbitMQ: black hole": Breaker.black_hole_for_rabbit,
    "clients: RST, all at once": Breaker.reset_all_sockets,
    "clients: FIN, all at once": Breaker.end_all_sockets,
    "clients: black hole": Breaker.black_hole_for_clients,
}


async def freeze_for(pids: Callable[[], list[int]], seconds: float) -> None:
    """Stop processes for a while (SIGSTOP)."""
    frozen = pids()
    for pid in frozen:
        _send(pid, signal.SIGSTOP)
    await asyncio.sleep(seconds)
    for pid in {*frozen, *pids()}:
        _send(pid, signal.SIGCONT)


def _send(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
