"""processes: one chat of two server processes beside one of a single process; and what a bystander pays.

Fan-out is that of *fanout* to 2,000 sockets, ingest that of *ingest* with 4 messages in flight each; the sockets take
the processes in turn. Each run has servers of its own, which may use all cores: on a machine with two, the load
competes with them for one. The reference of two processes is one process.

A bystander is a process whose connections are all in other rooms than those in which something is said by means of
another process. It pays for each event, since every process hears of all. What it spends when nothing is said, measured
just before for as long, is subtracted.
"""

from collections.abc import Sequence
from secrets import token_hex

from tests.bench import fanout, ingest
from tests.bench.environment import Environment, MeasuredServer, chat_processes, chat_server, chat_upgrade, go_live
from tests.bench.figures import Figures
from tests.bench.rooms import offer
from tests.bench.wires import Author, InvalidRun, LoadClient, LoadClients, Witness, check_room, now

COUNTS = (1, 2)
SOCKETS = 2_000
FANOUT_IN_FLIGHT = (1, 32)
SENDERS, ROOMS = 64, 50
INGEST_IN_FLIGHT = 4
RUN_S = 1.2
WARM_S = 0.3

BUSY_ROOMS, OTHER_ROOMS = 10, 100
RATES = (100, 1_000)
BYSTANDER_S = 4.0
WAIT_S = 10.0


def run(env: Environment, figures: Figures, *, runs: int, quick: bool) -> None:
    """Measure one and two processes in turn, then the bystander, `runs` times."""
    seconds, bystander_s = (0.4, 1.0) if quick else (RUN_S, BYSTANDER_S)
    for _ in range(runs):
        for count in COUNTS:
            found = Figures()
            measure(env, count, seconds, found)
            for figure in found:
                name = f"{figure.what}, 2 processes; 1 process"
                (figures.compare if count == 1 else figures.add)(name, figure.runs[0])
    measure_bystander(env, runs, bystander_s, figures)


def measure(env: Environment, count: int, seconds: float, figures: Figures) -> None:
    """Fan-out, then ingest, with this many processes."""
    listeners, (room,) = env.accounts(SOCKETS + 1), env.rooms(1)
    env.join([(room, account.id) for account in listeners])
    people, rooms = env.accounts(SENDERS + ROOMS), env.rooms(ROOMS)
    env.join([(rooms[n % ROOMS], account.id) for n, account in enumerate(people[:SENDERS])])
    env.join(list(zip(rooms, (account.id for account in people[SENDERS:]), strict=True)))
    env.settle()
    with chat_processes(env, count) as server, LoadClients(*server.ports) as load:
        clients = load.open(chat_upgrade(server, account) for account in [*listeners, *people])
        author, readers, others = clients[0], clients[1 : SOCKETS + 1], clients[SOCKETS + 1 :]
        go_live(load, [(client, room) for client in readers])
        sender = Author(author, room, f"fanout{count}")
        authors = [Author(client, rooms[n % ROOMS], f"{n}") for n, client in enumerate(others[:SENDERS])]
        go_live(load, list(zip(others[SENDERS:], rooms, strict=True)))
        for level in FANOUT_IN_FLIGHT:
            _fan_out(server, load, sender, readers, level, WARM_S, Figures())
        for level in FANOUT_IN_FLIGHT:
            _fan_out(server, load, sender, readers, level, seconds, figures)
        for duration, noted in ((WARM_S, Figures()), (seconds, figures)):
            _ingest(env, server, load, authors, others[SENDERS:], duration, noted)


def _fan_out(
    server: MeasuredServer,
    load: LoadClients,
    sender: Author,
    readers: Sequence[LoadClient],
    level: int,
    seconds: float,
    figures: Figures,
) -> None:
    found = Figures()
    fanout.measure(server, load, sender, readers, level, seconds, found)
    for figure in found:
        figures.add(f"fan-out: {figure.what}", figure.runs[0])


def _ingest(
    env: Environment,
    server: MeasuredServer,
    load: LoadClients,
    authors: Sequence[Author],
    readers: Sequence[LoadClient],
    seconds: float,
    figures: Figures,
) -> None:
    found, name = Figures(), f"acked/s, {INGEST_IN_FLIGHT} in flight each"
    ingest.measure(env, server, load, authors, readers, INGEST_IN_FLIGHT, seconds, name, found)
    for figure in found:
        figures.add(f"ingest: {figure.what}", figure.runs[0])


def measure_bystander(env: Environment, runs: int, seconds: float, figures: Figures) -> None:
    """What a process pays for each event of rooms in which none of its connections is."""
    count = BUSY_ROOMS + OTHER_ROOMS
    rooms, accounts = env.rooms(count), env.accounts(count + BUSY_ROOMS)
    readers, authors = accounts[:count], accounts[count:]
    env.join([(room, account.id) for room, account in zip(rooms, readers, strict=True)])
    env.join([(room, account.id) for room, account in zip(rooms, authors, strict=False)])
    env.settle()
    prefix = f"bench-{token_hex(4)}."
    with (
        chat_server(env, AMQP_PREFIX=prefix) as busy,
        chat_server(env, AMQP_PREFIX=prefix) as bystander,
        LoadClients(*busy.ports) as load,
        LoadClients(*bystander.ports) as others,
    ):
        heard = load.open(chat_upgrade(busy, account) for account in readers[:BUSY_ROOMS])
        go_live(load, list(zip(heard, rooms, strict=False)))
        spoken = [
            Author(client, room, f"bystander{room}")
            for room, client in zip(rooms, load.open(chat_upgrade(busy, each) for each in authors), strict=False)
        ]
        silent = others.open(chat_upgrade(bystander, account) for account in readers[BUSY_ROOMS:])
        go_live(others, list(zip(silent, rooms[BUSY_ROOMS:], strict=True)))
        for client in silent:
            client.got = 0
        _bystander(bystander, load, spoken, heard, RATES[0], 1.0)  # warm
        for _ in range(runs):
            for rate in RATES:
                spent = _bystander(bystander, load, spoken, heard, rate, seconds)
                figures.add(f"bystander: CPU µs an event, {rate:,} events/s", spent * 1e6)
        others.quiet(0.1)
        if any(client.got for client in silent):
            raise InvalidRun("the bystander's connections got something")


def _bystander(
    bystander: MeasuredServer,
    load: LoadClients,
    authors: Sequence[Author],
    readers: Sequence[LoadClient],
    rate: float,
    seconds: float,
) -> float:
    """CPU seconds that the bystander spends on an event."""
    for author in authors:
        author.reset(author.run + 1)
    witnesses = [Witness(reader) for reader in readers]
    before, began = bystander.spent(), now()
    load.quiet(seconds)
    idle_cores = (bystander.spent() - before).server / (now() - began)
    before, began = bystander.spent(), now()
    total = round(rate * seconds)
    offer(load, authors, began, rate, total)
    while sum(witness.count for witness in witnesses) < total or any(each.acked < each.said for each in authors):
        load.pull(0.05)
        if now() > began + seconds + WAIT_S:
            raise InvalidRun("not all was delivered")
    spent = (bystander.spent() - before).server - idle_cores * (now() - began)
    for author, witness in zip(authors, witnesses, strict=True):
        author.check()
        check_room(witness, [], author.said)
    return spent / total
