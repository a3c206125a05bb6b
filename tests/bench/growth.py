"""How costs grow: `python -m tests.bench --growth`. Not part of the table; no references.

Deliveries against sockets in a room, history against messages in it, connects against rooms of the user, the
server's memory against messages that went through it. Each line is one size; README.md says where it bends.
"""

from tests.bench import fanout, history
from tests.bench.figures import Figures
from tests.bench.tools import wrk
from tests.bench.wires import Author, Crowd, now
from tests.bench.world import World, chat_server, chat_upgrade, go_live

SOCKETS = (10, 100, 1_000, 10_000)
MESSAGES = (1_000, 10_000, 100_000, 1_000_000)
ROOMS = (1, 10, 100, 1_000)
KEPT = (1_000, 10_000, 100_000)
RUN_S = 1.5
CONNECTS = 100
IN_FLIGHT = 32


def run(it: World, figures: Figures, *, runs: int, quick: bool) -> None:
    """All four curves."""
    for count in SOCKETS[:2] if quick else SOCKETS:
        deliveries(it, count, runs, figures)
    for count in MESSAGES[:2] if quick else MESSAGES:
        pages(it, count, runs, figures)
    for count in ROOMS[:2] if quick else ROOMS:
        connects(it, count, runs, figures)
    memory(it, KEPT[:1] if quick else KEPT, figures)


def deliveries(it: World, count: int, runs: int, figures: Figures) -> None:
    """fanout with another number of sockets."""
    people, (room,) = it.people(count + 1), it.rooms(1)
    it.join([(room, person.id) for person in people])
    it.settle()
    with chat_server(it) as server, Crowd(server.port) as crowd:
        author, *readers = crowd.open(chat_upgrade(server, person) for person in people)
        go_live(crowd, [(wire, room) for wire in readers])
        sender = Author(author, room, f"growth{count}")
        for _ in range(runs):
            one = Figures()
            fanout.measure(server, crowd, sender, readers, IN_FLIGHT, RUN_S, one)
            for figure in one:
                if figure.what.startswith(("deliveries", "CPU")):
                    figures.add(f"{figure.what}, {count:,} sockets", figure.runs[0])


def pages(it: World, count: int, runs: int, figures: Figures) -> None:
    """history with another number of messages, and the first page of the room's events."""
    room, readers = history.fill(it, count)
    with chat_server(it, LOG_LEVEL="WARNING") as server:
        path = f"http://127.0.0.1:{server.port}/v1/chat/rooms/{room}/messages"
        history.get(path, readers[0])
        for _ in range(runs):
            for label, query in (("latest 50", ""), ("50 in the middle", f"?before={count // 2}")):
                done = wrk(path + query, connections=history.CLIENTS, seconds=1, tokens=[readers[0].token])
                figures.add(f"requests/s, {label} of {count:,} messages", done.per_s)


def connects(it: World, count: int, runs: int, figures: Figures) -> None:
    """From the connect to the hello, for users who are in so many rooms."""
    people, rooms = it.people(CONNECTS), it.rooms(count)
    it.join([(room, person.id) for person in people for room in rooms])
    it.settle()
    for _ in range(runs):
        with chat_server(it) as server, Crowd(server.port) as crowd:
            before, began = server.spent(), now()
            crowd.open(chat_upgrade(server, person) for person in people)
            elapsed, spent = now() - began, server.spent() - before
            figures.add(f"connects/s, {count:,} rooms each", CONNECTS / elapsed)
            figures.add(f"CPU ms a connect, {count:,} rooms each", spent.server / CONNECTS * 1e3)


def memory(it: World, counts: tuple[int, ...], figures: Figures) -> None:
    """What the server holds after so many messages: it keeps none."""
    people, (room,) = it.people(2), it.rooms(1)
    it.join([(room, person.id) for person in people])
    with chat_server(it) as server, Crowd(server.port) as crowd:
        author, reader = crowd.open(chat_upgrade(server, person) for person in people)
        go_live(crowd, [(reader, room)])
        sender = Author(author, room, "memory")
        total = 0
        for count in counts:
            while total < count:
                fanout.measure(server, crowd, sender, [reader], 256, 0.2, Figures())
                total += sender.said
            figures.add(f"MiB of the server after {count:,} messages", server.memory_kib() / 1024)
