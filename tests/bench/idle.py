"""idle: 10,000 authenticated sockets in rooms of ten, nothing said, a ping every 5 s (by default it is 25 s).

A connect counts when the hello is there: the token is checked, the user's rooms are known. Then each socket resumes
its room, which makes it live; memory is counted after that. The kernel's memory is that of both ends.

Reference: aiohttp holding as many bare websockets with the same pings. Each run has a server of its own.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

from tests.bench import machine
from tests.bench.environment import Environment, MeasuredServer, chat_server, chat_upgrade, go_live, reference
from tests.bench.figures import Figures
from tests.bench.wires import InvalidRun, LoadClient, LoadClients, now
from tests.support.websocket_bytes import upgrade_request

SOCKETS = 10_000
EACH = 10
PING_INTERVAL_S = 5.0  # up to here aiohttp does not round it up
SETTLE_S = 2.0  # the server's start leaves 64 MiB, of its first hash, to be given back
IDLE_S = 6.5


def run(env: Environment, figures: Figures, *, runs: int, quick: bool) -> None:
    """Measure server and reference in turn."""
    count = 500 if quick else SOCKETS
    seconds = 1.0 if quick else IDLE_S
    accounts, rooms = env.accounts(count), env.rooms(count // EACH)
    places = [rooms[n // EACH] for n in range(count)]
    env.join(list(zip(places, (account.id for account in accounts), strict=True)))
    env.settle()
    figures.of("KiB a socket", ("≤", 1.2))
    figures.of("KiB a socket in the kernel, both ends")
    figures.of("connects/s", ("≥", 0.5))
    figures.of("resumes/s")
    figures.of("CPU µs a second and socket")
    figures.of("CPU ms a connect")

    def resumed(load: LoadClients, clients: Sequence[LoadClient]) -> None:
        began = now()
        go_live(load, list(zip(clients, places, strict=True)))
        figures.add("resumes/s", count / (now() - began))

    for _ in range(runs):
        measure(
            chat_server(env, PING_INTERVAL_S=str(PING_INTERVAL_S)),
            lambda server: [chat_upgrade(server, account) for account in accounts],
            resumed,
            seconds,
            figures.add,
        )
        measure(
            reference("hold", PING_INTERVAL_S),
            lambda server: [upgrade_request("/")] * count,
            None,
            seconds,
            figures.compare,
        )


def measure(
    starting: AbstractContextManager[MeasuredServer],
    requests: Callable[[MeasuredServer], list[bytes]],
    then: Callable[[LoadClients, Sequence[LoadClient]], None] | None,
    seconds: float,
    note: Callable[[str, float], None],
) -> None:
    """Measure one server: connect, stay idle for a while, end."""
    with starting as server, LoadClients(server.port, pings=True) as load:
        asked = requests(server)
        load.quiet(SETTLE_S)
        memory, kernel, before, began = server.memory_kib(), machine.kernel_kib(), server.spent(), now()
        clients = load.open(asked, hello=then is not None)
        elapsed, spent = now() - began, server.spent() - before
        note("connects/s", len(clients) / elapsed)
        note("CPU ms a connect", spent.server / len(clients) * 1e3)
        if then is not None:
            then(load, clients)
        load.quiet(0.5)
        note("KiB a socket", (server.memory_kib() - memory) / len(clients))
        note("KiB a socket in the kernel, both ends", (machine.kernel_kib() - kernel) / len(clients))
        before, load.pinged, began = server.spent(), 0, now()
        load.quiet(seconds)
        spent, elapsed = server.spent() - before, now() - began
        if seconds > PING_INTERVAL_S and load.pinged < len(clients):
            raise InvalidRun(f"{load.pinged} pings for {len(clients)} sockets")
        note("CPU µs a second and socket", spent.server / elapsed / len(clients) * 1e6)
