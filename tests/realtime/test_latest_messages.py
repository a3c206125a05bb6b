"""Whatever happens between two processes, a page from memory is the one that PostgreSQL would have given.

Hub, relay, reader and memory are the real ones. PostgreSQL is a list of the states that it has been in; a query shows
the state of any moment between its beginning and its end. Time stands still until the test moves it.
"""

import asyncio
import contextlib
import random
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from types import SimpleNamespace
from typing import Any, NamedTuple

import hypothesis.strategies as st
import psycopg2
import pytest
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from chat.db.errors import Unreachable
from chat.db.rows import row_mapping
from chat.errors import NotFound, Unavailable
from chat.eventlog import reader
from chat.eventlog.event import Event, EventKind, event_array, event_notification
from chat.eventlog.notifier import Notifier
from chat.eventlog.reader import NAMES_SETTLE_S, EventReader
from chat.http import app_keys
from chat.protocol.notifications import Notification, encode_notifications
from chat.realtime import latest_messages, relay
from chat.realtime.hub import Hub
from chat.realtime.latest_messages import LatestMessages
from chat.realtime.relay import Relay
from chat.realtime.subscriber import Subscriber
from tests.support.client import Person, WebsocketClient
from tests.support.fake_transport import FakeTransport
from tests.support.names import unique
from tests.support.recording_broker import RecordingBroker
from tests.support.sample_events import ALICE, AT, BOB
from tests.support.server import InProcessServer
from tests.support.standing_clock import StandingClock, on_standing_clock
from tests.support.waiting import eventually

PUBLIC, PRIVATE = ROOMS = (1, 2)
USERS = (ALICE, BOB)
EDIT = 2  # a kind of event that changes a message
FEWEST, MOST = 3, 5  # messages of a memory
NO_EVENT: tuple[Any, ...] = (None,) * len(Event._fields)
SELDOM = st.integers(0, 9).map(lambda number: number == 7)  # hypothesis likes 0
KINDS = [EventKind.MESSAGE] * 4 + [EventKind.MEMBER, EventKind.ROOM]


class State(NamedTuple):
    """What is committed. The events have no names: they are joined at reading."""

    events: dict[int, tuple[Event, ...]]
    members: frozenset[tuple[int, int]]  # user and room
    names: dict[int, str]
    names_version: int
    names_changed_at: float
    epoch: str

    def messages(self, room: int, limit: int) -> list[Event]:
        return [named(event, self.names) for event in self.events[room] if event.kind == EventKind.MESSAGE][-limit:]

    def may_read(self, user: int, room: int) -> bool:
        return room == PUBLIC or (user, room) in self.members

    def page(self, user: int, room: int, limit: int) -> bytes | None:
        """What PostgreSQL answers in this state."""
        return event_array(self.messages(room, limit)) if self.may_read(user, room) else None


class Transaction(NamedTuple):
    """Events of a room that are not committed yet, and the names as they were when it began."""

    room: int
    events: list[Event]
    names: dict[int, str]


def named(event: Event, names: dict[int, str]) -> Event:
    name = names[event.user_id]
    return event._replace(username=name, email=f"{name}@example.com")


def positioned(pages: Iterable[tuple[tuple[Any, ...], Sequence[tuple[Any, ...]]]]) -> list[tuple[Any, ...]]:
    """The rows of pages: each of the facts of a page beside each of its events."""
    return [(*facts, *event) for facts, events in pages for event in events or [NO_EVENT]]


class PostgreSQL:
    """All states that were committed, and the queries that are under way: each waits for its snapshot, then again for
    its answer to arrive."""

    def __init__(self, clock: StandingClock) -> None:
        self.clock = clock
        names = {user: f"user{user}" for user in USERS}
        everybody = frozenset((user, room) for user in USERS for room in ROOMS)
        self.states = [State(dict.fromkeys(ROOMS, ()), everybody, names, 0, float("-inf"), "epoch 1")]
        self.queries: list[asyncio.Future[None]] = []
        self.at_once = False

    @property
    def now(self) -> State:
        return self.states[-1]

    def commit(self, **changes: Any) -> None:
        self.states.append(self.now._replace(**changes))

    async def _wait(self) -> None:
        if not self.at_once:
            query = self.clock.create_future()
            self.queries.append(query)
            await query

    async def fetch_all(self, name: str, row: Any, **params: Any) -> Any:
        await self._wait()
        rows = getattr(self, name.replace("/", "_"))(self.now, **params)
        await self._wait()
        return list(map(row_mapping(row).make, rows))

    async def fetch_value(self, name: str, type_: type) -> Any:
        assert name == "epoch/get"
        await self._wait()
        epoch = self.now.epoch
        await self._wait()
        return epoch

    def messages_list_before(self, state: State, room_ids: Any, reader_ids: Any, befores: Any, limits: Any) -> Any:
        requests = enumerate(zip(room_ids, reader_ids, limits, strict=True), 1)
        return positioned(
            ((str(n),), state.messages(room, limit))
            for n, (room, user, limit) in requests
            if state.may_read(user, room)
        )

    def messages_list_latest(
        self, state: State, room_ids: Any, reader_ids: Any, limits: Any, settle_s: float
    ) -> list[tuple[Any, ...]]:
        settled = self.clock.now - state.names_changed_at > settle_s
        requests = enumerate(zip(room_ids, reader_ids, limits, strict=True), 1)
        return positioned(
            (
                (str(n), len(state.events[room]), state.epoch, state.names_version, settled),
                state.messages(room, limit),
            )
            for n, (room, user, limit) in requests
            if state.may_read(user, room)
        )

    def rooms_list_ends(self, state: State, room_ids: Any, reader_ids: Any) -> list[tuple[Any, ...]]:
        return [
            (n, len(state.events[room]), state.epoch, state.names_version)
            for n, (room, user) in enumerate(zip(room_ids, reader_ids, strict=True), 1)
            if state.may_read(user, room)
        ]

    def events_list_after(self, state: State, room_ids: Any, reader_ids: Any, afters: Any, limits: Any) -> Any:
        assert set(reader_ids) == {None}  # gaps are filled for the process itself
        requests = enumerate(zip(room_ids, afters, limits, strict=True), 1)
        return positioned(
            (
                (str(n), len(state.events[room])),
                [named(event, state.names) for event in state.events[room][after : after + limit]],
            )
            for n, (room, after, limit) in requests
        )

    def rooms_out_of_sync(self, state: State, room_ids: Any, seqs: Any) -> list[tuple[int, int]]:
        ends = [(room, len(state.events[room]), seq) for room, seq in zip(room_ids, seqs, strict=True)]
        return [(room, end) for room, end, seq in ends if end != seq]

    def members_joined_since(self, state: State, user_ids: Any, seconds: float) -> list[tuple[int, int, int]]:
        return []  # the subscribers know of no memberships


class Process:
    """One server process: its hub, relay and memory, its connections, and the notifications on their way to it."""

    def __init__(self, db: PostgreSQL) -> None:
        self.hub = Hub()
        self.broker = RecordingBroker()
        tokens: Any = SimpleNamespace(epoch=db.now.epoch)
        log: Any = db
        self.relay = Relay(log, Notifier(self.broker), self.hub, tokens)
        self.memory = LatestMessages(log, EventReader(log), self.hub, tokens, limit_bytes=4_000)
        self.tokens = tokens
        self.notifications: list[Notification] = []
        self.polling: asyncio.Task[None] | None = None
        self.subscribers: list[Subscriber] = []

    def live_rooms(self) -> list[int]:
        return self.hub.positions()[0]

    def connect(self, user: int, room: int, seq: int) -> None:
        subscriber = Subscriber(user, FakeTransport(), lambda code: None, speaks_v2=True, buffer_limit_bytes=1 << 30)
        self.hub.connect(subscriber)
        self.hub.join(subscriber, room, seq)
        self.subscribers.append(subscriber)

    def poll(self) -> None:
        async def polled() -> None:
            with contextlib.suppress(Unreachable):
                epoch = self.tokens.epoch
                await self.relay.poll()
                if self.tokens.epoch != epoch:  # what was published before a restore has arrived long before its end
                    self.notifications.clear()

        if self.polling is None or self.polling.done():
            self.polling = asyncio.get_running_loop().create_task(polled())


class MemoryMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.clock = StandingClock()
        self.failures: list[Any] = []
        self.clock.set_exception_handler(lambda _, context: self.failures.append(context))
        self.db = PostgreSQL(self.clock)
        self.transactions: list[Transaction] = []
        self.processes: list[Process] = []
        self.reads: list[asyncio.Task[None]] = []
        self.do(self._begin)

    def _begin(self) -> None:
        for _ in range(2):
            self.processes.append(Process(self.db))
            for room in ROOMS:
                self.processes[-1].connect(ALICE, room, 0)

    def do(self, act: Callable[..., Any], *args: Any) -> None:
        """Act inside the loop, which then runs until nothing is ready."""

        async def inside() -> None:
            act(*args)
            for _ in range(20):
                await asyncio.sleep(0)

        self.clock.run_until_complete(inside())

    # --- writes -------------------------------------------------------------------------------------------

    @rule(
        room=st.sampled_from(ROOMS),
        user=st.sampled_from(USERS),
        kinds=st.lists(st.sampled_from(KINDS), min_size=1, max_size=3),
        commits=st.booleans(),
        heard_by=st.sets(st.integers(0, 1)),
    )
    def begin(self, room: int, user: int, kinds: list[EventKind], commits: bool, heard_by: set[int]) -> None:
        if any(transaction.room == room for transaction in self.transactions):
            return  # the room is locked
        log = self.db.now.events[room]
        number, is_member = sum(event.kind == EventKind.MESSAGE for event in log), (user, room) in self.db.now.members
        events: list[Event] = []
        for seq, kind in enumerate(kinds, len(log) + 1):
            event = Event(room, seq, kind, user, "", "", None, None, None, None, AT)
            if kind == EventKind.MESSAGE:
                number += 1
                event = event._replace(body=f"line {seq} of {len(self.db.states)}", message_no=number)
            elif kind == EventKind.MEMBER:
                event = event._replace(data={"action": "left" if is_member else "joined"})
                is_member = not is_member
            else:
                event = event._replace(data={"action": "changed", "name": f"room {seq}", "topic": ""})
            events.append(event)
        self.transactions.append(Transaction(room, events, self.db.now.names))
        if commits:
            self.commit(len(self.transactions) - 1)
            for process in heard_by:
                self.deliver_all(process)

    @precondition(lambda self: self.transactions)
    @rule(which=st.integers(0, 1))
    def commit(self, which: int) -> None:
        room, events, names = self.transactions.pop(which % len(self.transactions))
        members = set(self.db.now.members)
        for event in events:
            if event.kind == EventKind.MEMBER:
                members ^= {(event.user_id, room)}
        log = self.db.now.events
        self.db.commit(events={**log, room: (*log[room], *events)}, members=frozenset(members))
        for process in self.processes:
            process.notifications += [event_notification(named(event, names)) for event in events]

    @rule(user=st.sampled_from(USERS), does=SELDOM)
    def rename(self, user: int, does: bool) -> None:
        if not does:
            return
        version = self.db.now.names_version + 1
        names = {**self.db.now.names, user: f"name{len(self.db.states)}"}
        self.db.commit(names=names, names_version=version, names_changed_at=self.clock.now)

    @rule(back=st.integers(2, 6), does=SELDOM)
    def restore(self, back: int, does: bool) -> None:
        """An earlier state comes back, as a new epoch. Nothing that was under way survives."""
        if not does or any(process.tokens.epoch != self.db.now.epoch for process in self.processes):
            return  # restores are further apart than polls
        self.transactions.clear()
        state = self.db.states[-min(back, len(self.db.states))]
        self.db.states.append(state._replace(epoch=f"epoch {len(self.db.states)}"))
        queries, self.db.queries = self.db.queries, []
        for query in queries:
            if not query.done():
                self.do(query.set_exception, Unreachable())

    # --- notifications, polls, connections ----------------------------------------------------------------

    @rule(process=st.integers(0, 1), which=st.integers(0, 9), again=st.booleans())
    def deliver(self, process: int, which: int, again: bool) -> None:
        waiting = self.processes[process].notifications
        if waiting:
            found = waiting[which % len(waiting)] if again else waiting.pop(which % len(waiting))
            self.do(lambda: self.processes[process].broker.receive(encode_notifications([found])))

    @rule(process=st.integers(0, 1))
    def deliver_all(self, process: int) -> None:
        waiting = self.processes[process].notifications
        self.do(lambda: self.processes[process].broker.receive(encode_notifications(waiting)))
        waiting.clear()

    @rule(process=st.integers(0, 1), which=st.integers(0, 9), does=SELDOM)
    def lose(self, process: int, which: int, does: bool) -> None:
        waiting = self.processes[process].notifications
        if waiting and does:
            waiting.pop(which % len(waiting))

    @rule(process=st.integers(0, 1))
    def poll(self, process: int) -> None:
        self.do(self.processes[process].poll)

    @rule(seconds=st.sampled_from([0.04, 0.06, 1.0, NAMES_SETTLE_S + 1]))
    def wait(self, seconds: float) -> None:
        while seconds > 1 and self.transactions:
            self.commit(0)  # no transaction lasts as long
        self.clock.now += seconds
        self.do(lambda: None)

    @rule(process=st.integers(0, 1), user=st.sampled_from(USERS), room=st.sampled_from(ROOMS), back=st.integers(0, 2))
    def connect(self, process: int, user: int, room: int, back: int) -> None:
        """A room becomes live with what was read of it, perhaps a while ago."""
        seq = max(0, len(self.db.now.events[room]) - back)
        self.do(lambda: self.processes[process].connect(user, room, seq))

    @rule(process=st.integers(0, 1), which=st.integers(0, 9), does=SELDOM)
    def disconnect(self, process: int, which: int, does: bool) -> None:
        subscribers = self.processes[process].subscribers
        if subscribers and does:
            gone = subscribers.pop(which % len(subscribers))
            self.do(lambda: self.processes[process].hub.disconnect(gone))

    # --- reads --------------------------------------------------------------------------------------------

    @rule(
        process=st.integers(0, 1),
        user=st.sampled_from(USERS),
        room=st.sampled_from(ROOMS),
        limit=st.sampled_from([1, FEWEST, MOST]),
        rounds=st.sampled_from([0, 0, 2, 4]),
    )
    def read(self, process: int, user: int, room: int, limit: int, rounds: int) -> None:
        self.do(lambda: self.reads.append(self.clock.create_task(self._read(process, user, room, limit))))
        self.answer_all(rounds)

    @rule(
        process=st.integers(0, 1),
        room=st.sampled_from(ROOMS),
        users=st.lists(st.sampled_from(USERS), min_size=2, max_size=4),
        rounds=st.sampled_from([0, 1, 2, 4]),
    )
    def read_together(self, process: int, room: int, users: list[int], rounds: int) -> None:
        for user in users:
            self.read(process, user, room, FEWEST, 0)
        self.answer_all(rounds)

    async def _read(self, process: int, user: int, room: int, limit: int) -> None:
        asked = len(self.db.states) - 1
        page: bytes | None
        try:
            page = await self.processes[process].memory.page(user, room, limit=limit)
        except NotFound:
            page = None
        except (Unreachable, Unavailable):
            return
        possible = [state.page(user, room, limit) for state in self.db.states[asked:]]
        assert page in possible, f"{page!r} where one of these was due: {possible}"

    @precondition(lambda self: self.db.queries)
    @rule(which=st.integers(0, 9))
    def answer(self, which: int) -> None:
        """A query takes its snapshot, or its answer arrives."""
        query = self.db.queries.pop(which % len(self.db.queries))
        if not query.done():
            self.do(query.set_result, None)

    @rule(rounds=st.integers(1, 4))
    def answer_all(self, rounds: int) -> None:
        for _ in range(rounds):
            queries, self.db.queries = self.db.queries, []
            for query in queries:
                if not query.done():
                    self.do(query.set_result, None)

    @precondition(lambda self: self.db.queries)
    @rule(which=st.integers(0, 9), does=SELDOM)
    def fail(self, which: int, does: bool) -> None:
        if not does:
            return
        query = self.db.queries.pop(which % len(self.db.queries))
        if not query.done():
            self.do(query.set_exception, Unreachable())

    # --- many of these ------------------------------------------------------------------------------------

    @rule(seed=st.integers(0, 2**32))
    def storm(self, seed: int) -> None:
        """Steps in proportions in which most reads meet a memory, and most memories meet changes."""
        chance = random.Random(seed)
        steps: list[tuple[int, Callable[[], None]]] = [
            (
                14,
                lambda: self.begin(
                    room(), user(), kinds(), chance.random() < 0.7, set(chance.sample((0, 1), number(2)))
                ),
            ),
            (6, lambda: self.commit(number(1)) if self.transactions else None),
            (2, lambda: self.rename(user(), True)),
            (1, lambda: self.restore(1 + number(5), chance.random() < 0.3)),
            (6, lambda: self.deliver(number(1), number(9), chance.random() < 0.2)),
            (6, lambda: self.deliver_all(number(1))),
            (1, lambda: self.lose(number(1), number(9), True)),
            (3, lambda: self.poll(number(1))),
            (3, lambda: self.wait(chance.choice([0.04, 0.06, 1.0, NAMES_SETTLE_S + 1]))),
            (3, lambda: self.connect(number(1), user(), room(), number(2))),
            (1, lambda: self.disconnect(number(1), number(9), True)),
            (20, lambda: self.read(number(1), user(), room(), chance.choice([1, 3, 5]), number(4))),
            (6, lambda: self.read_together(number(1), room(), [user(), user(), user()], number(4))),
            (20, lambda: self.answer(number(9)) if self.db.queries else None),
            (6, lambda: self.answer_all(1 + number(3))),
            (1, lambda: self.fail(number(9), True) if self.db.queries else None),
        ]

        def number(most: int) -> int:
            return chance.randint(0, most)

        def user() -> int:
            return chance.choice(USERS)

        def room() -> int:
            return chance.choice(ROOMS)

        def kinds() -> list[EventKind]:
            return chance.choices(KINDS, k=chance.randint(1, 3))

        weights, acts = zip(*steps, strict=True)
        for act in chance.choices(acts, weights, k=60):
            act()
            self.every_answer_was_postgresqls()

    # --- what has to hold ---------------------------------------------------------------------------------

    @invariant()
    def every_answer_was_postgresqls(self) -> None:
        assert not self.failures, self.failures
        for read in [read for read in self.reads if read.done()]:
            self.reads.remove(read)
            read.result()

    @invariant()
    def memory_is_bounded_and_only_of_live_rooms(self) -> None:
        for process in self.processes:
            assert 0 <= process.memory.size_bytes <= 4_000
            assert process.live_rooms() or process.memory.size_bytes == 0

    def teardown(self) -> None:
        try:
            self._come_to_rest()
            self.every_answer_was_postgresqls()
            for number, process in enumerate(self.processes):
                for room in process.live_rooms():
                    self._check_that_the_second_read_is_from_memory(number, room)
        finally:
            for task in asyncio.all_tasks(self.clock):
                task.cancel()
            self.do(lambda: None)
            self.clock.close()

    def _come_to_rest(self) -> None:
        """From now on everything answers, and the poll runs repeatedly."""
        self.db.at_once = True
        self.wait(NAMES_SETTLE_S + 1)
        for _ in range(8):
            self.answer_all(1)
            for number in range(2):
                self.poll(number)
            self.wait(1.0)

    def _check_that_the_second_read_is_from_memory(self, number: int, room: int) -> None:
        memory = self.processes[number].memory
        somebody = next((user for user in USERS if self.db.now.may_read(user, room)), None)
        if somebody is not None:
            self.read(number, somebody, room, FEWEST, 0)
            answered = memory.answered_from_memory
            self.read(number, somebody, room, FEWEST, 0)
            self.every_answer_was_postgresqls()
            assert memory.answered_from_memory == answered + 1


@pytest.fixture
def small_memories(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(latest_messages, "MIN_MESSAGES", FEWEST)
    monkeypatch.setattr(latest_messages, "MAX_MESSAGES", MOST)
    monkeypatch.setattr(relay, "GAP_FILL_ROWS", 2)


@pytest.mark.usefixtures("small_memories")
class TestMemory(MemoryMachine.TestCase):  # type: ignore[misc, valid-type]
    settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


# --- one process, step by step --------------------------------------------------------------------------


def process_with_messages(count: int) -> Process:
    """A process that is exactly at the end of a public room. Each query is answered at once."""
    clock = asyncio.get_running_loop()
    assert isinstance(clock, StandingClock)
    db = PostgreSQL(clock)
    db.at_once = True
    messages = tuple(
        Event(PUBLIC, seq, EventKind.MESSAGE, ALICE, "", "", f"line {seq}", seq, None, None, AT)
        for seq in range(1, count + 1)
    )
    db.commit(events={**db.now.events, PUBLIC: messages})
    process = Process(db)
    process.connect(ALICE, PUBLIC, count)
    return process


@pytest.mark.usefixtures("small_memories")
@on_standing_clock
async def test_an_event_that_may_have_changed_a_message_drops_the_memory() -> None:
    process = process_with_messages(4)
    await process.memory.page(ALICE, PUBLIC, limit=FEWEST)
    assert process.memory.size_bytes > 0
    process.hub.deliver(Notification(PUBLIC, 5, EventKind.MEMBER, b"{}"))
    assert process.memory.size_bytes > 0
    process.hub.deliver(Notification(PUBLIC, 6, EDIT, b"{}"))
    assert process.memory.size_bytes == 0


@pytest.mark.usefixtures("small_memories")
@on_standing_clock
async def test_a_page_that_is_larger_than_the_memory_fills_it_anew() -> None:
    process = process_with_messages(9)
    for limit, from_memory in ((FEWEST, False), (1, True), (MOST, False), (MOST, True), (FEWEST, True)):
        before = process.memory.answered_from_memory
        page = await process.memory.page(BOB, PUBLIC, limit=limit)
        assert page.count(b'"seq"') == limit
        assert process.memory.answered_from_memory - before == from_memory


@pytest.mark.usefixtures("small_memories")
@on_standing_clock
async def test_readers_that_fill_the_same_memory_do_not_replace_one_anothers() -> None:
    process = process_with_messages(9)
    await asyncio.gather(*(process.memory.page(user, PUBLIC, limit=FEWEST) for user in USERS))
    size_bytes = process.memory.size_bytes
    await asyncio.gather(*(process.memory.page(user, PUBLIC, limit=FEWEST) for user in USERS))
    assert process.memory.answered_from_memory == 2
    assert process.memory.size_bytes == size_bytes


# --- with a real server ---------------------------------------------------------------------------------


@pytest.fixture
def settled_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep pages however recently a test has changed a name."""
    monkeypatch.setattr(reader, "NAMES_SETTLE_S", 0.0)


async def latest(person: Person, room: int, query: str = "") -> bytes:
    path = f"/v1/chat/rooms/{room}/messages{query}"
    async with person.chat.http.get(path, headers=person.headers) as response:
        assert response.status == 200
        return await response.read()


async def live_room(person: Person, messages: int) -> tuple[int, WebsocketClient]:
    """A room of a person with messages, and a connection that hears it."""
    room = await person.creates()
    for number in range(messages):
        await person.posts(f"message {number}", room)
    wire = await person.connects()
    await wire.resume(room, after=0)
    return room, wire


async def test_the_latest_page_of_a_live_room_is_answered_from_memory(
    chat: InProcessServer, alice: Person, bob: Person, settled_names: None
) -> None:
    memory, log = chat.app[app_keys.LATEST_MESSAGES], chat.app[app_keys.READER]
    room, wire = await live_room(alice, messages=3)
    pages = [await latest(alice, room)]
    assert memory.size_bytes > 0
    before = memory.answered_from_memory
    pages += [await latest(bob, room), await latest(alice, room, "?limit=50")]
    await bob.posts("one more", room)
    await wire.hears("one more")
    longer = await latest(bob, room)
    assert memory.answered_from_memory == before + 3
    assert len(set(pages)) == 1 and pages[0].count(b'"seq"') == 3
    assert longer == await log.page(bob.id, room, before=None, after=None, limit=50)
    assert await latest(bob, room, "?limit=2") == await log.page(bob.id, room, before=None, after=None, limit=2)
    await latest(bob, room, "?before=3")
    await latest(bob, room, "?after=0")
    assert memory.answered_from_memory == before + 4


async def test_a_message_is_in_the_page_as_soon_as_it_is_acknowledged(alice: Person, settled_names: None) -> None:
    room, _ = await live_room(alice, messages=1)
    for number in range(20):
        await latest(alice, room)
        sent = await alice.posts(f"own {number}", room)
        assert f'"seq":{sent["seq"]},'.encode() in await latest(alice, room)


async def test_a_private_room_is_not_shown_from_memory_to_a_stranger(
    chat: InProcessServer, alice: Person, bob: Person, database_url: str, settled_names: None
) -> None:
    room, _ = await live_room(alice, messages=1)
    await latest(alice, room)
    with closing(psycopg2.connect(database_url)) as connection, connection, connection.cursor() as cursor:
        cursor.execute("UPDATE rooms SET kind = 'private' WHERE id = %s", (room,))
    before = chat.app[app_keys.LATEST_MESSAGES].answered_from_memory
    await bob.asks("GET", f"/v1/chat/rooms/{room}/messages", status=404)
    await latest(alice, room)
    assert chat.app[app_keys.LATEST_MESSAGES].answered_from_memory == before + 1


async def test_a_new_name_is_in_the_next_page_and_pages_are_kept_once_names_have_settled(
    chat: InProcessServer, alice: Person, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = chat.app[app_keys.LATEST_MESSAGES]
    room, _ = await live_room(alice, messages=1)
    monkeypatch.setattr(reader, "NAMES_SETTLE_S", 0.0)
    await latest(alice, room)
    name = unique("renamed")
    with closing(psycopg2.connect(database_url)) as connection, connection, connection.cursor() as cursor:
        cursor.execute("UPDATE users SET username = %s WHERE id = %s", (name, alice.id))
    before = memory.answered_from_memory
    monkeypatch.setattr(reader, "NAMES_SETTLE_S", 3600.0)
    for _ in range(3):
        assert name.encode() in await latest(alice, room)
    assert memory.answered_from_memory == before
    monkeypatch.setattr(reader, "NAMES_SETTLE_S", 0.0)
    for _ in range(3):
        assert name.encode() in await latest(alice, room)
    assert memory.answered_from_memory == before + 2


@pytest.mark.parametrize(
    ("change", "counts"),
    [
        ("username = 'n-' || id", 1),
        ("email = 'e-' || id || '@example.com'", 1),
        ("username = username", 0),
        ("password_hash = 'x'", 0),
    ],
)
async def test_the_transaction_that_changes_a_name_counts_it(
    alice: Person, database_url: str, change: str, counts: int
) -> None:
    count = "SELECT names_version FROM epoch"
    with closing(psycopg2.connect(database_url)) as connection, connection.cursor() as cursor:
        cursor.execute(count)
        ((before,),) = cursor.fetchall()
        cursor.execute(f"UPDATE users SET {change} WHERE id = %s", (alice.id,))
        cursor.execute(count)
        assert cursor.fetchall() == [(before + counts,)]


async def test_memory_is_given_back_with_its_room(chat: InProcessServer, alice: Person, settled_names: None) -> None:
    memory = chat.app[app_keys.LATEST_MESSAGES]
    before = memory.size_bytes
    room, wire = await live_room(alice, messages=3)
    await latest(alice, room)
    assert memory.size_bytes > before
    await wire.close()
    await eventually(lambda: memory.size_bytes == before)


async def test_the_least_recently_read_rooms_are_dropped_beyond_the_limit(
    chat: InProcessServer, alice: Person, settled_names: None
) -> None:
    app = chat.app
    parts = app[app_keys.DB], app[app_keys.READER], app[app_keys.BACKEND].hub, app[app_keys.TOKENS]
    small = LatestMessages(*parts, limit_bytes=2 * 1024)
    rooms = [(await live_room(alice, messages=2))[0] for _ in range(4)]
    for room in (*rooms, rooms[1]):
        await small.page(alice.id, room, limit=50)
        assert small.size_bytes <= 2 * 1024
    before = small.answered_from_memory
    await small.page(alice.id, rooms[3], limit=50)
    assert small.answered_from_memory == before + 1
    await small.page(alice.id, rooms[0], limit=50)
    assert small.answered_from_memory == before + 1
