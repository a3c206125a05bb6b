"""A chat of 500 messages/s in rooms of ten, alone and beside connections that ask for something all the time.

The chat is an open loop, each delay timed from when the message was due. The others are a closed loop.
"""

import re
from collections.abc import Sequence

from tests.bench.environment import Account, MeasuredServer, chat_upgrade, go_live
from tests.bench.rooms import Shape, offer
from tests.bench.wires import Author, InvalidRun, LoadClient, LoadClients, Marks, Witness, check_room, delays, now

RATE = 500.0
WAIT_S = 10.0


class ClosedLoop:
    """Connections that send their request again when it is answered.

    They are closed at the end: the server waits only 15 s for a request.
    """

    def __init__(self, load: LoadClients, requests: Sequence[bytes]) -> None:
        self.done = 0
        self._more = True
        self._load = load
        self._requests = requests
        self._clients = [load.plain() for _ in requests]

    def begin(self) -> None:
        for client, request in zip(self._clients, self._requests, strict=True):
            self._ask(client, request)

    def end(self) -> None:
        """Let the requests in flight end, and close the connections."""
        self._more = False
        self._load.quiet(0.5)
        for client in self._clients:
            self._load.close(client)

    def _ask(self, client: LoadClient, request: bytes) -> None:
        heard = bytearray()
        size = 0  # of the whole answer, once its head is there

        def take(_: float, chunk: memoryview) -> None:
            nonlocal size
            heard.extend(chunk)
            if not size and (end := heard.find(b"\r\n\r\n")) >= 0:
                length = re.search(rb"Content-Length: (\d+)", heard[:end])
                if length is None or not heard.startswith(b"HTTP/1.1 200"):
                    raise InvalidRun(f"refused: {bytes(heard[:300])!r}")
                size = end + 4 + int(length[1])
            if size and len(heard) >= size:
                self.done += 1
                if self._more:
                    self._ask(client, request)

        client.take = take
        client.write(request)


def open_chat(load: LoadClients, server: MeasuredServer, rooms: Sequence[int], accounts: Sequence[Account]) -> Shape:
    """Connect the accounts, members of the rooms in turn: in each room one author, and readers that are live."""
    clients = load.open(chat_upgrade(server, account) for account in accounts)
    members = [[clients[n] for n in range(at, len(clients), len(rooms))] for at in range(len(rooms))]
    go_live(load, [(client, room) for room, each in zip(rooms, members, strict=True) for client in each[1:]])
    authors = [Author(each[0], room, f"{room}") for room, each in zip(rooms, members, strict=True)]
    return Shape(load, authors, [each[1:] for each in members], server, acks=True)


def chat(shape: Shape, seconds: float, others: ClosedLoop | None = None) -> tuple[list[float], float, float]:
    """Every delivery's delay, sorted; requests of the others a second; CPU seconds for each of them."""
    for author in shape.authors:
        author.reset(author.run + 1)
    witnesses = [Witness(each[0]) for each in shape.readers]
    sample = [[Marks(client) for client in each[1:]] for each in shape.readers]
    before, began = shape.server.spent(), now()
    if others:
        others.begin()
    offer(shape.load, shape.authors, began, RATE, round(RATE * seconds))
    done, elapsed = (others.done if others else 0), now() - began
    spent = shape.server.spent() - before
    deadline = now() + WAIT_S
    while any(
        witness.count < author.said
        or author.acked < author.said
        or any(client.got < len(witness.data) for client in each)
        for witness, author, each in zip(witnesses, shape.authors, shape.readers, strict=True)
    ):
        shape.load.pull(0.05)
        if now() > deadline:
            raise InvalidRun("not all was delivered")
    if others:
        others.end()
    waited: list[float] = []
    for author, witness, marks, each in zip(shape.authors, witnesses, sample, shape.readers, strict=True):
        author.check()
        check_room(witness, each, author.said)
        for noted in (witness.marks, *(one.marks for one in marks)):
            waited += delays(noted, witness.ends(), author.due)
    return sorted(waited), done / elapsed, spent.server / max(1, done)
