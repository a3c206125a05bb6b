"""How costs grow: `python -m tests.bench --growth`. Not part of the table; no references.

Deliveries against sockets in a room, history against messages in it, connects against rooms of the user, the
server's memory against messages that went through it. Each line is one size; README.md says where it bends.
"""

from tests.bench import fanout, history
from tests.bench.environment import Environment, chat_server, chat_upgrade, go_live
from tests.bench.figures import Figures
from tests.bench.tools import wrk
from tests.bench.wires import Author, LoadClients, now

SOCKETS = (10, 100, 1_000, 10_000)
MESSAGES = (1_000, 10_000, 100_000, 1_000_000)
ROOMS = (1, 10, 100, 1_000)
KEPT = (1_000, 10_000, 100_000)
RUN_S = 1.5
CONNECTS = 100
IN_FLIGHT = 32


def run(env: Environment, figures: Figures, *, runs: int, quick: bool) -> None:
    """Measure all four curves."""
    for count in SOCKETS[:2] if quick else SOCKETS:
        deliveries(env, count, runs, figures)
    for count in MESSAGES[:2] if quick else MESSAGES:
        pages(env, count, runs, figures)
    for count in ROOMS[:2] if quick else ROOMS:
        connects(env, count, runs, figures)
    memory(env, KEPT[:1] if quick else KEPT, figures)


def deliveries(env: Environment, count: int, runs: int, figures: Figures) -> None:
    """Measure fanout with another number of sockets."""
    accounts, (room,) = env.accounts(count + 1), env.rooms(1)
    env.join([(room, account.id) for account in accounts])
    env.settle()
    with chat_server(env) as server, LoadClients(server.port) as load:
        author, *readers = load.open(chat_upgrade(server, account) for account in accounts)
        go_live(load, [(client, room) for client in readers])
        sender = Author(author, room, f"growth{count}")
        for _ in range(runs):
            one = Figures()
            fanout.measure(server, load, sender, readers, IN_FLIGHT, RUN_S, one)
            for figure in one:
                if figure.what.startswith(("deliveries", "CPU")):
                    figures.add(f"{figure.what}, {count:,} sockets", figure.runs[0])


def pages(env: Environment, count: int, runs: int, figures: Figures) -> None:
    """Measure history with another number of messages."""
    (room,), readers = history.fill(env, count)
    with chat_server(env, LOG_LEVEL="WARNING") as server:
        path = f"http://127.0.0.1:{server.port}/v1/chat/rooms/{room}/messages"
        history.get(path, readers[0])
        for _ in range(runs):
            for label, query in (("latest 50", ""), ("50 in the middle", f"?before={count // 2}")):
                done = wrk(path + query, connections=history.CLIENTS, seconds=1, tokens=[readers[0].token])
                figures.add(f"requests/s, {label} of {count:,} messages", done.per_s)


def connects(env: Environment, count: int, runs: int, figures: Figures) -> None:
    """Measure from the connect to the hello, for users in `count` rooms each."""
    accounts, rooms = env.accounts(CONNECTS), env.rooms(count)
    env.join([(room, account.id) for account in accounts for room in rooms])
    env.settle()
    for _ in range(runs):
        with chat_server(env) as server, LoadClients(server.port) as load:
            before, began = server.spent(), now()
            load.open(chat_upgrade(server, account) for account in accounts)
            elapsed, spent = now() - began, server.spent() - before
            figures.add(f"connects/s, {count:,} rooms each", CONNECTS / elapsed)
            figures.add(f"CPU ms a connect, {count:,} rooms each", spent.server / CONNECTS * 1e3)


def memory(env: Environment, counts: tuple[int, ...], figures: Figures) -> None:
    """Measure the server's memory after many messages, of which it should keep none."""
    accounts, (room,) = env.accounts(2), env.rooms(1)
    env.join([(room, account.id) for account in accounts])
    with chat_server(env) as server, LoadClients(server.port) as load:
        author, reader = load.open(chat_upgrade(server, account) for account in accounts)
        go_live(load, [(reader, room)])
        sender = Author(author, room, "memory")
        total = 0
        for count in counts:
            while total < count:
                fanout.measure(server, load, sender, [reader], 256, 0.2, Figures())
                total += sender.said
            figures.add(f"MiB of the server after {count:,} messages", server.memory_kib() / 1024)
