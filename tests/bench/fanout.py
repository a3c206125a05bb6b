"""fanout: one sender, a thousand sockets in one room, 1 to 256 messages in flight (sent and not yet acked).

Reference: plain asyncio that writes one finished frame of the same size to each of as many sockets, once for each
byte it is asked with, as many in flight. With one in flight also nchan, and a plain C loop of send(); see
deliveries.py.

Delays are those of every 50th socket, from the moment of writing: with a fixed number in flight the loop is closed, and
a message is due when there is room for it.
"""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

from tests.bench.deliveries import nchan, send_loop
from tests.bench.environment import Environment, MeasuredServer, chat_server, chat_upgrade, go_live, reference
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
from tests.support.websocket_bytes import payload_ranges, upgrade_request

SOCKETS = 1_000
IN_FLIGHT = (1, 8, 32, 256)
REFERENCE_IN_FLIGHT = (1, 32)
SAMPLE = 50
NCHAN = "CPU µs a delivery, 1 in flight; nchan"
LOOP = "CPU µs a delivery, 1 in flight; a C loop of send()"
RUN_S = 1.2
WAIT_S = 10.0


@dataclass
class Broadcast:
    """A reference with its sockets."""

    server: MeasuredServer
    load: LoadClients
    listeners: Sequence[LoadClient]
    control: LoadClient


@contextmanager
def broadcast(starting: AbstractContextManager[MeasuredServer | None]) -> Iterator[Broadcast | None]:
    """Connect to a reference, unless it is missing."""
    with starting as server:
        if server is None:
            yield None
            return
        with LoadClients(*server.ports) as load:
            listeners = load.open([upgrade_request("/")] * SOCKETS, hello=False)
            (control,) = load.open([upgrade_request("/control")], hello=False)
            yield Broadcast(server, load, listeners, control)


def run(env: Environment, figures: Figures, *, runs: int, quick: bool) -> None:
    """Run all levels, one after the other, `runs` times."""
    seconds = 0.4 if quick else RUN_S
    accounts, (room,) = env.accounts(SOCKETS + 1), env.rooms(1)
    env.join([(room, account.id) for account in accounts])
    env.settle()
    for level in IN_FLIGHT:  # in this order in the table
        figures.of(f"deliveries/s, {level} in flight", ("≥", 15) if level == 32 else None)
        figures.of(f"CPU µs a delivery, {level} in flight", ("≤", 1.3) if level == 1 else None)
        figures.of(f"delay p50 ms, {level} in flight")
        figures.of(f"delay p99 ms, {level} in flight")
        figures.of(f"PostgreSQL CPU µs a message, {level} in flight")
        figures.of(f"RabbitMQ CPU µs a message, {level} in flight")
    with chat_server(env) as server, LoadClients(server.port) as load:
        author, *readers = load.open(chat_upgrade(server, account) for account in accounts)
        go_live(load, [(client, room) for client in readers])
        sender = Author(author, room, "fanout")
        size = measure(server, load, sender, readers, 1, 0.3, Figures())  # warm
        with (
            broadcast(reference("broadcast", size)) as plain,
            broadcast(send_loop(size)) as loop,
            nchan(SOCKETS) as other,
        ):
            assert plain is not None
            for _ in range(runs):
                for level in IN_FLIGHT:
                    measure(server, load, sender, readers, level, seconds, figures)
                for level in REFERENCE_IN_FLIGHT:
                    rate, cpu_s = compare(plain, level, seconds, size)
                    for each in IN_FLIGHT:
                        if each == level or (level > 1 and each > 1):
                            figures.compare(f"deliveries/s, {each} in flight", rate)
                            figures.compare(f"CPU µs a delivery, {each} in flight", cpu_s * 1e6)
                ours = figures.of("CPU µs a delivery, 1 in flight").runs[-1]
                if other:
                    figures.add(NCHAN, ours, aim=("≤", 1.2))
                    figures.compare(NCHAN, other.cpu_s(size, seconds) * 1e6)
                if loop:
                    figures.add(LOOP, ours)
                    figures.compare(LOOP, compare(loop, 1, seconds, size)[1] * 1e6)


def measure(
    server: MeasuredServer,
    load: LoadClients,
    sender: Author,
    readers: Sequence[LoadClient],
    level: int,
    seconds: float,
    figures: Figures,
) -> int:
    """Run one level. Return the size in bytes of a delivered message."""
    sender.reset(sender.run + 1)
    for reader in readers:
        reader.got, reader.take = 0, None
    witness = Witness(readers[0])
    sample = [Marks(reader) for reader in readers[SAMPLE::SAMPLE]]
    before, began = server.spent(), now()
    end = began + seconds
    while now() < end or sender.acked < sender.said:
        if (free := level - (sender.said - sender.acked)) > 0 and now() < end:
            sender.say([now()] * free)
        load.pull(0.05)
        if now() > end + WAIT_S:
            raise InvalidRun(f"{sender.said - sender.acked} of {sender.said} messages were not acked")
    until_delivered(load, witness, readers, sender.said, end + WAIT_S)
    elapsed, spent = now() - began, server.spent() - before
    sender.check()
    check_room(witness, readers, sender.said)
    ends = witness.ends()
    noted = [witness.marks, *(each.marks for each in sample)]
    waited = sorted(each for marks in noted for each in delays(marks, ends, sender.due))
    deliveries = sender.said * len(readers)
    figures.add(f"deliveries/s, {level} in flight", deliveries / elapsed)
    figures.add(f"CPU µs a delivery, {level} in flight", spent.server / deliveries * 1e6)
    figures.add(f"delay p50 ms, {level} in flight", percentile(waited, 0.5) * 1e3)
    figures.add(f"delay p99 ms, {level} in flight", percentile(waited, 0.99) * 1e3)
    figures.add(f"PostgreSQL CPU µs a message, {level} in flight", spent.postgres / sender.said * 1e6)
    figures.add(f"RabbitMQ CPU µs a message, {level} in flight", spent.rabbitmq / sender.said * 1e6)
    begin, end = next(payload_ranges(witness.data))
    return end - begin


def until_delivered(
    load: LoadClients, witness: Witness, readers: Sequence[LoadClient], said: int, deadline: float
) -> None:
    """Read until the witness has `said` messages, and all readers have as many bytes."""
    while witness.count < said or any(reader.got < len(witness.data) for reader in readers):
        load.pull(0.05)
        if now() > deadline:
            raise InvalidRun(f"{witness.count} of {said} messages were delivered to the witness; others lack some, too")


def compare(other: Broadcast, level: int, seconds: float, size: int) -> tuple[float, float]:
    """Run a reference once. Return its deliveries a second, and CPU seconds a delivery."""
    for client in other.listeners:
        client.got = 0
    other.control.got = asked = 0
    frame_bytes = size + 4  # with the header
    before, began = other.server.spent(), now()
    end = began + seconds
    while now() < end or other.control.got < 2 * asked:
        if (free := level - (asked - other.control.got // 2)) > 0 and now() < end:
            other.control.write(b"x" * free)
            asked += free
        other.load.pull(0.05)
    while any(client.got < frame_bytes * asked for client in other.listeners):
        if now() > end + WAIT_S:
            raise Overloaded("the reference did not deliver everything")
        other.load.pull(0.05)
    elapsed, spent = now() - began, other.server.spent() - before
    deliveries = asked * len(other.listeners)
    return deliveries / elapsed, spent.server / deliveries
