"""idle: 10,000 authenticated sockets in rooms of ten, nothing said, a ping every 5 s (by default it is 25 s).

A connect counts when the hello is there: the token is checked, the user's rooms are known. Then each socket resumes
its room, which makes it live; memory is counted after that. The kernel's memory is that of both ends.

Reference: aiohttp holding as many bare websockets with the same pings. Each run has a server of its own.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

from tests.bench import machine
from tests.bench.figures import Figures
from tests.bench.wires import Crowd, Void, Wire, now, upgrade
from tests.bench.world import Server, World, chat_server, chat_upgrade, go_live, reference

SOCKETS = 10_000
EACH = 10
PING_INTERVAL_S = 5.0  # up to here aiohttp does not round it up
SETTLE_S = 2.0  # the server's start leaves 64 MiB, of its first hash, to be given back
IDLE_S = 5.6


def run(it: World, figures: Figures, *, runs: int, quick: bool) -> None:
    """Server and reference in turn."""
    count = 500 if quick else SOCKETS
    seconds = 1.0 if quick else IDLE_S
    people, rooms = it.people(count), it.rooms(count // EACH)
    places = [rooms[n // EACH] for n in range(count)]
    it.join(list(zip(places, (person.id for person in people), strict=True)))
    it.settle()
    figures.of("KiB a socket", ("≤", 1.2))
    figures.of("KiB a socket in the kernel, both ends")
    figures.of("connects/s", ("≥", 0.5))
    figures.of("resumes/s")
    figures.of("CPU µs a second and socket")
    figures.of("CPU ms a connect")

    def resumed(crowd: Crowd, wires: Sequence[Wire]) -> None:
        began = now()
        go_live(crowd, list(zip(wires, places, strict=True)))
        figures.add("resumes/s", count / (now() - began))

    for _ in range(runs):
        measure(
            chat_server(it, PING_INTERVAL_S=str(PING_INTERVAL_S)),
            lambda server: [chat_upgrade(server, person) for person in people],
            resumed,
            seconds,
            figures.add,
        )
        measure(
            reference("hold", PING_INTERVAL_S),
            lambda server: [upgrade(server.port, "/")] * count,
            None,
            seconds,
            figures.compare,
        )


def measure(
    starting: AbstractContextManager[Server],
    requests: Callable[[Server], list[bytes]],
    then: Callable[[Crowd, Sequence[Wire]], None] | None,
    seconds: float,
    note: Callable[[str, float], None],
) -> None:
    """One server: connects, does nothing for a while, ends."""
    with starting as server, Crowd(server.port, pings=True) as crowd:
        asked = requests(server)
        crowd.quiet(SETTLE_S)
        memory, kernel, before, began = server.memory_kib(), machine.kernel_kib(), server.spent(), now()
        wires = crowd.open(asked, hello=then is not None)
        elapsed, spent = now() - began, server.spent() - before
        note("connects/s", len(wires) / elapsed)
        note("CPU ms a connect", spent.server / len(wires) * 1e3)
        if then is not None:
            then(crowd, wires)
        crowd.quiet(0.5)
        note("KiB a socket", (server.memory_kib() - memory) / len(wires))
        note("KiB a socket in the kernel, both ends", (machine.kernel_kib() - kernel) / len(wires))
        before, crowd.pinged, began = server.spent(), 0, now()
        crowd.quiet(seconds)
        spent, elapsed = server.spent() - before, now() - began
        if seconds > PING_INTERVAL_S and crowd.pinged < len(wires):
            raise Void(f"{crowd.pinged} pings for {len(wires)} sockets")
        note("CPU µs a second and socket", spent.server / elapsed / len(wires) * 1e6)
