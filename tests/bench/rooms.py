"""rooms: 5,000 sockets in 500 rooms of ten, an open loop in rising steps until p99 is above 200 ms.

Each room also has one author, which gets only its acks. It sends each message when it is due, whether the server keeps
up or not. A delay counts from that moment, at each of the ten. A step is sustained if all messages are delivered, and
99 of 100 in time.

Reference: a bare aiohttp relay of the same shape, one send after another, nothing stored, no acks.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tests.bench.environment import Environment, MeasuredServer, Spent, chat_server, chat_upgrade, go_live, reference
from tests.bench.figures import Figures, percentile
from tests.bench.wires import (
    Author,
    InvalidRun,
    LoadClient,
    LoadClients,
    Marks,
    Overloaded,
    Witness,
    check_room,
    delays,
    now,
)
from tests.support.websocket_bytes import upgrade_request

ROOMS = 500
EACH = 10
LIMIT_S = 0.2
STEP_S = 1.5
FIRST_RATE = 1_500.0  # messages a second
COARSE, FINE = 1.4, 1.12
LATE_S = 3.0  # after a step, what is not there is not waited for


class TooLate(InvalidRun):
    """The step was too much: the run is valid, but the rate was not sustained."""


@dataclass
class Shape:
    """The clients of one server: the author and the readers of each room."""

    load: LoadClients
    authors: list[Author]
    readers: list[list[LoadClient]]
    server: MeasuredServer
    acks: bool


@dataclass(frozen=True)
class Step:
    """The figures of a sustained step."""

    rate: float
    deliveries_per_s: float
    p99_s: float
    spent: Spent
    messages: int


def run(env: Environment, figures: Figures, *, runs: int, quick: bool) -> None:
    """Find the last sustained step, `runs` times for each of the two servers."""
    count = 50 if quick else ROOMS
    seconds = 0.5 if quick else STEP_S
    rooms, accounts = env.rooms(count), env.accounts(count * (EACH + 1))
    env.join([(rooms[n % count], account.id) for n, account in enumerate(accounts)])
    env.settle()
    figures.of("deliveries/s sustained", ("≥", 0.5))
    with (
        chat_server(env) as server,
        LoadClients(server.port) as load,
        reference("relay") as bare,
        LoadClients(bare.port) as others,
    ):
        clients = load.open(chat_upgrade(server, account) for account in accounts)
        readers = [[clients[n] for n in range(room, len(clients), count)] for room in range(count)]
        go_live(load, [(client, room) for room, each in zip(rooms, readers, strict=True) for client in each[1:]])
        ours = Shape(
            load,
            [Author(each[0], room, f"{room}") for room, each in zip(rooms, readers, strict=True)],
            [each[1:] for each in readers],
            server,
            acks=True,
        )
        spoken = others.open([upgrade_request(f"/?room={n}") for n in range(count)], hello=False)
        heard = others.open(
            [upgrade_request(f"/?room={n}&listen=1") for n in range(count) for _ in range(EACH)], hello=False
        )
        theirs = Shape(
            others,
            [Author(client, n, f"{n}") for n, client in enumerate(spoken)],
            [heard[n * EACH : (n + 1) * EACH] for n in range(count)],
            bare,
            acks=False,
        )
        from_rate = {True: FIRST_RATE, False: FIRST_RATE}
        for _ in range(runs):
            best = sustained(ours, seconds, from_rate[True])
            from_rate[True] = best.rate / FINE**2
            figures.add("deliveries/s sustained", best.deliveries_per_s)
            figures.add("delay p99 ms at that rate", best.p99_s * 1e3)
            figures.add("CPU µs a delivery", best.spent.server / (best.messages * EACH) * 1e6)
            figures.add("PostgreSQL CPU µs a message", best.spent.postgres / best.messages * 1e6)
            figures.add("RabbitMQ CPU µs a message", best.spent.rabbitmq / best.messages * 1e6)
            best = sustained(theirs, seconds, from_rate[False])
            from_rate[False] = best.rate / FINE**2
            figures.compare("deliveries/s sustained", best.deliveries_per_s)
            figures.compare("delay p99 ms at that rate", best.p99_s * 1e3)
            figures.compare("CPU µs a delivery", best.spent.server / (best.messages * EACH) * 1e6)


def sustained(shape: Shape, seconds: float, first: float) -> Step:
    """The last sustained step: from `first` up by large steps, then from the last good one by small ones."""
    best = climb(lambda rate: step(shape, rate, seconds), first, COARSE)
    return climb(lambda rate: step(shape, rate, seconds), best.rate * FINE, FINE, best)


def climb(attempt: Callable[[float], Step], rate: float, factor: float, best: Step | None = None) -> Step:
    """The last step before one is too much. If the first one already is, the rate goes down."""
    while True:
        try:
            best = attempt(rate)
            rate *= factor
        except (TooLate, Overloaded) as reason:
            if best is not None:
                return best
            rate /= factor
            if rate < 10:
                raise InvalidRun(f"not even {rate:.0f} messages/s: {reason}") from None


def step(shape: Shape, rate: float, seconds: float) -> Step:
    """Run some seconds at one rate. Raises `TooLate`."""
    load, authors = shape.load, shape.authors
    for author in authors:
        author.reset(author.run + 1)
    witnesses = [Witness(each[0]) for each in shape.readers]
    sample = [[Marks(client) for client in each[1:]] for each in shape.readers]
    total = round(rate * seconds)
    before, began = shape.server.spent(), now()
    try:
        offer(load, authors, began, rate, total)
        deadline = began + seconds + LATE_S
        while any(witness.count < author.said for witness, author in zip(witnesses, authors, strict=True)) or any(
            client.got < len(witness.data)
            for witness, each in zip(witnesses, shape.readers, strict=True)
            for client in each
        ):
            load.pull(0.05)
            if now() > deadline:
                raise TooLate("not all is delivered")
    except (TooLate, Overloaded):
        calm(shape)
        raise
    elapsed, spent = now() - began, shape.server.spent() - before
    if shape.acks:
        while any(author.acked < author.said for author in authors) and now() < deadline:
            load.pull(0.05)
        for author in authors:
            author.check()
    waited: list[float] = []
    for author, witness, marks, each in zip(authors, witnesses, sample, shape.readers, strict=True):
        if shape.acks:
            check_room(witness, each, author.said)
        ends = witness.ends()
        for noted in (witness.marks, *(one.marks for one in marks)):
            waited += delays(noted, ends, author.due)
    if len(waited) != total * EACH:
        raise InvalidRun(f"{len(waited)} of {total * EACH} deliveries")
    waited.sort()
    p99 = percentile(waited, 0.99)
    if p99 > LIMIT_S:
        raise TooLate(f"p99 is {p99 * 1e3:.0f} ms")
    return Step(rate, len(waited) / elapsed, p99, spent, total)


def offer(load: LoadClients, authors: Sequence[Author], began: float, rate: float, total: int) -> None:
    """Send message n at `began` + n / `rate`, room by room in turn, or a little later if the load itself is late."""
    said = 0
    while said < total:
        due = min(total, int((now() - began) * rate) + 1)
        while said < due:
            authors[said % len(authors)].say([began + said / rate])
            said += 1
        load.pull(max(0.0, began + said / rate - now()))


def calm(shape: Shape) -> None:
    """After a step that was too much, wait until nothing arrives any more."""
    while shape.load.pull(1.0):
        pass
