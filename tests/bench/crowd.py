"""The same people in the same rooms, on this server or on another one, and how long their messages take.

A message counts from the moment when it was due to the moment when the last person of its room has it, the author
among them. Every person has to get every message of their rooms once. What arrives is kept while the clock runs, and
parsed afterwards.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import zip_longest
from secrets import token_hex
from typing import NamedTuple

from tests.bench.environment import Environment, MeasuredServer, Spent, chat_server, chat_upgrade, go_live
from tests.bench.figures import Figures, percentile
from tests.bench.wires import InvalidRun, LoadClient, LoadClients, frame, now
from tests.support.websocket_bytes import payload_ranges

WAIT_S = 10.0
PAUSE_S = 0.005  # after a lone message, for what the server still does when all have got it
SPIN_S = 0.001  # an epoll waits for whole milliseconds

Rooms = Sequence[Sequence[int]]
"""The people of each room, by their numbers."""

Copies = Callable[[bytearray, int], Iterator[tuple[str, int]]]
"""For bytes from an index on: the name of each message in them, and where it ends."""


class Post(NamedTuple):
    """A message that is to be written: seconds from the begin, the room, its author."""

    due_s: float
    room: int
    person: int


@dataclass(frozen=True)
class Crowd:
    """The people of one server, each with a connection that is in all their rooms.

    message: the bytes that say something in a room, with a name of 24 characters and a text.
    copies: finds the messages in what a person has received.
    """

    server: MeasuredServer
    load: LoadClients
    clients: Sequence[LoadClient]
    rooms: Rooms
    message: Callable[[int, str, str], bytes]
    copies: Copies


class Talk(NamedTuple):
    """What came of some messages.

    waited: seconds until the last person had each of them, sorted.
    late_s: how late the load itself wrote, at most; None if nothing was due.
    """

    waited: list[float]
    late_s: float | None
    spent: Spent


@contextmanager
def chat_crowd(env: Environment, rooms: Rooms, people: int) -> Iterator[Crowd]:
    """The people on this server."""
    accounts, ids = env.accounts(people), env.rooms(len(rooms))
    env.join([(room, accounts[person].id) for room, members in zip(ids, rooms, strict=True) for person in members])
    env.settle()

    def message(room: int, name: str, text: str) -> bytes:
        return frame(type=1, chatroomId=ids[room], chatmessage=text, requestId=name)

    with chat_server(env) as server, LoadClients(*server.ports) as load:
        clients = load.open(chat_upgrade(server, account) for account in accounts)
        for places in one_room_each(rooms, people):
            go_live(load, [(clients[person], ids[room]) for person, room in places])
        yield Crowd(server, load, clients, rooms, message, chat_copies)


def chat_copies(data: bytearray, start: int) -> Iterator[tuple[str, int]]:
    """The messages among the frames of chat.v2; the acks are left out."""
    for begin, end in payload_ranges(data, start):
        received = json.loads(data[begin:end])
        if received["type"] == 14:
            raise InvalidRun(f"refused: {received}")
        if received["type"] == 1:
            yield received["requestId"], end


def one_room_each(rooms: Rooms, people: int) -> Iterator[list[tuple[int, int]]]:
    """All places as lists of (person, room) in which nobody is twice: people enter one room after the other."""
    theirs: list[list[int]] = [[] for _ in range(people)]
    for room, members in enumerate(rooms):
        for person in members:
            theirs[person].append(room)
    for turn in zip_longest(*theirs):
        yield [(person, room) for person, room in enumerate(turn) if room is not None]


def on_time(crowd: Crowd, posts: Sequence[Post]) -> Talk:
    """Write each message when it is due, whatever became of those before it: an open loop."""
    names, received = _begin(crowd, posts)
    late, before, began = 0.0, crowd.server.spent(), now()
    for post, (name, text) in zip(posts, names.items(), strict=True):
        data = crowd.message(post.room, name, text)
        while (left := began + post.due_s - now()) > 0:
            crowd.load.pull(max(0.0, left - SPIN_S))
        crowd.clients[post.person].write(data)
        late = max(late, -left)
    expected, deadline = sum(len(crowd.rooms[post.room]) for post in posts), now() + WAIT_S
    while crowd.load.pull(0.05) or sum(len(each.parse()) for each in received) < expected:
        if now() > deadline:
            raise InvalidRun("not all was delivered")
    spent = crowd.server.spent() - before
    return Talk(_waited(crowd, posts, list(names), received, [began + post.due_s for post in posts]), late, spent)


def one_by_one(crowd: Crowd, posts: Sequence[Post]) -> Talk:
    """Write each message when everybody has the one before it, and a short pause is over: there is nothing to batch."""
    names, received = _begin(crowd, posts)
    due, before = [], crowd.server.spent()
    for post, (name, text) in zip(posts, names.items(), strict=True):
        data = crowd.message(post.room, name, text)
        waiting = {received[person] for person in crowd.rooms[post.room]}
        due.append(now())
        crowd.clients[post.person].write(data)
        while waiting := {each for each in waiting if name not in each.parse()}:
            crowd.load.pull(0.05)
            if now() > due[-1] + WAIT_S:
                raise InvalidRun("not all was delivered")
        crowd.load.quiet(PAUSE_S)
    spent = crowd.server.spent() - before
    return Talk(_waited(crowd, posts, list(names), received, due), None, spent)


def note(figures: Figures, talk: Talk, label: str, *, reference: bool, aims: Mapping[str, float] = {}) -> None:
    """Note what a talk took and cost, as ours or as the reference's. Aims are at most so many times the reference."""
    count, spent = len(talk.waited), talk.spent
    numbers = {
        "last recipient p50 ms": percentile(talk.waited, 0.5) * 1e3,
        "last recipient p99 ms": percentile(talk.waited, 0.99) * 1e3,
        "last recipient max ms": talk.waited[-1] * 1e3,
        "CPU s for 1,000 messages": sum(spent) / count * 1e3,
        "CPU s for 1,000 messages, server": spent.server / count * 1e3,
        "CPU s for 1,000 messages, PostgreSQL": spent.postgres / count * 1e3,
        "CPU s for 1,000 messages, RabbitMQ": None if reference else spent.rabbitmq / count * 1e3,
    }
    if talk.late_s is not None:
        numbers["the load wrote late, max ms"] = talk.late_s * 1e3
    for what, number in numbers.items():
        figures.of(f"{what}, {label}", ("≤", aims[what]) if what in aims else None)
        (figures.compare if reference else figures.add)(f"{what}, {label}", number)


class _Received:
    """What a person has received in a talk, and when."""

    def __init__(self, client: LoadClient, copies: Copies) -> None:
        self._copies = copies
        self._data = bytearray()
        self._chunks: list[tuple[float, int]] = []
        self._parsed = self._chunk = 0
        self._at: dict[str, float] = {}
        client.take = self._take

    def _take(self, at: float, chunk: memoryview) -> None:
        self._data += chunk
        self._chunks.append((at, len(self._data)))

    def parse(self) -> dict[str, float]:
        """When the last byte of each message was there, by its name. Raises `InvalidRun`."""
        for name, end in self._copies(self._data, self._parsed):
            while self._chunks[self._chunk][1] < end:
                self._chunk += 1
            if name in self._at:
                raise InvalidRun(f"{name} was delivered twice")
            self._at[name] = self._chunks[self._chunk][0]
            self._parsed = end
        return self._at


def _begin(crowd: Crowd, posts: Sequence[Post]) -> tuple[dict[str, str], list[_Received]]:
    """A name and a text of 100 bytes for each message, and what the people will have received."""
    prefix = token_hex(4)
    names = {f"{prefix}-{n:015}": f"message {n:010} ".ljust(100, ".") for n in range(len(posts))}
    return names, [_Received(client, crowd.copies) for client in crowd.clients]


def _waited(
    crowd: Crowd, posts: Sequence[Post], names: Sequence[str], received: Sequence[_Received], due: Sequence[float]
) -> list[float]:
    """Seconds until the last person had each message, sorted. Raises `InvalidRun` if somebody lacks one."""
    at = [each.parse() for each in received]
    if sum(map(len, at)) != sum(len(crowd.rooms[post.room]) for post in posts):
        raise InvalidRun("somebody got a message of another room")
    try:
        last = [
            max(at[person][name] for person in crowd.rooms[post.room]) for post, name in zip(posts, names, strict=True)
        ]
    except KeyError as name:
        raise InvalidRun(f"somebody did not get message {name}") from None
    return sorted(then - moment for then, moment in zip(last, due, strict=True))
