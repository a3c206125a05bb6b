"""fanout: one sender, a thousand sockets in one room, so many messages in flight (sent and not yet acked).

Reference: plain asyncio that writes one finished frame of the same size to each of as many sockets, once for each
byte it is asked with, as many in flight.

Delays are those of every 50th socket, from the moment of writing: with a fixed number in flight the loop is closed, and
a message is due when there is room for it.
"""

from collections.abc import Sequence

from tests.bench.figures import Figures, percentile
from tests.bench.wires import (
    Author,
    Crowd,
    Marks,
    TooMuch,
    Void,
    Wire,
    Witness,
    check_room,
    delays,
    now,
    upgrade,
    whole,
)
from tests.bench.world import Server, World, chat_server, chat_upgrade, go_live, reference

SOCKETS = 1_000
IN_FLIGHT = (1, 8, 32, 256)
REFERENCE_IN_FLIGHT = (1, 32)
SAMPLE = 50
RUN_S = 1.2
WAIT_S = 10.0


def run(it: World, figures: Figures, *, runs: int, quick: bool) -> None:
    """All levels, one after the other, `runs` times over."""
    seconds = 0.4 if quick else RUN_S
    people, (room,) = it.people(SOCKETS + 1), it.rooms(1)
    it.join([(room, person.id) for person in people])
    it.settle()
    for level in IN_FLIGHT:  # in this order in the table
        figures.of(f"deliveries/s, {level} in flight", ("≥", 15) if level == 32 else None)
        figures.of(f"CPU µs a delivery, {level} in flight", ("≤", 1.3) if level == 1 else None)
        figures.of(f"delay p50 ms, {level} in flight")
        figures.of(f"delay p99 ms, {level} in flight")
        figures.of(f"PostgreSQL CPU µs a message, {level} in flight")
        figures.of(f"RabbitMQ CPU µs a message, {level} in flight")
    with chat_server(it) as server, Crowd(server.port) as crowd:
        author, *readers = crowd.open(chat_upgrade(server, person) for person in people)
        go_live(crowd, [(wire, room) for wire in readers])
        sender = Author(author, room, "fanout")
        size = measure(server, crowd, sender, readers, 1, 0.3, Figures())  # warm
        with reference("broadcast", size) as plain, Crowd(plain.port) as others:
            listeners = others.open([upgrade(plain.port, "/")] * SOCKETS, hello=False)
            (control,) = others.open([upgrade(plain.port, "/control")], hello=False)
            for _ in range(runs):
                for level in IN_FLIGHT:
                    measure(server, crowd, sender, readers, level, seconds, figures)
                for level in REFERENCE_IN_FLIGHT:
                    compare(plain, others, control, listeners, level, seconds, size, figures)


def measure(
    server: Server, crowd: Crowd, sender: Author, readers: Sequence[Wire], level: int, seconds: float, figures: Figures
) -> int:
    """One run at one level; the bytes of a message as it was delivered."""
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
        crowd.pull(0.05)
        if now() > end + WAIT_S:
            raise Void(f"{sender.said - sender.acked} of {sender.said} messages were not acked")
    until_delivered(crowd, witness, readers, sender.said, end + WAIT_S)
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
    begin, end = next(whole(witness.data))
    return end - begin


def until_delivered(crowd: Crowd, witness: Witness, readers: Sequence[Wire], said: int, deadline: float) -> None:
    """Reads until the witness has `said` messages, and all of the crowd as many bytes."""
    while witness.count < said or any(reader.got < len(witness.data) for reader in readers):
        crowd.pull(0.05)
        if now() > deadline:
            raise Void(f"{witness.count} of {said} messages were delivered to the witness; others lack some, too")


def compare(
    plain: Server,
    crowd: Crowd,
    control: Wire,
    listeners: Sequence[Wire],
    level: int,
    seconds: float,
    size: int,
    figures: Figures,
) -> None:
    """One run of the reference."""
    for wire in listeners:
        wire.got = 0
    control.got = asked = 0
    text_frame = size + 4  # with the frame's header
    before, began = plain.spent(), now()
    end = began + seconds
    while now() < end or control.got < 2 * asked:
        if (free := level - (asked - control.got // 2)) > 0 and now() < end:
            control.write(b"x" * free)
            asked += free
        crowd.pull(0.05)
    while any(wire.got < text_frame * asked for wire in listeners):
        if now() > end + WAIT_S:
            raise TooMuch("the reference did not deliver everything")
        crowd.pull(0.05)
    elapsed, spent = now() - began, plain.spent() - before
    for each in IN_FLIGHT:
        if each == level or (level > 1 and each > 1):
            figures.compare(f"deliveries/s, {each} in flight", asked * len(listeners) / elapsed)
            figures.compare(f"CPU µs a delivery, {each} in flight", spent.server / (asked * len(listeners)) * 1e6)
