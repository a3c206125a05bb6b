"""Any interleaving of what can happen in a process leaves each socket with a dense run of numbers.

The hub, the relay and the connection's resume are the real ones. The log is a list. The broker is a choice of which
notifications arrive, in which order and how often. PostgreSQL's answers are old by the time they are read, or never
come. Time stands still until the test moves it.
"""

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, TypeVarTuple

import hypothesis.strategies as st
import pytest
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from chat.auth.tokens import Identity
from chat.config import Settings
from chat.db.errors import Unreachable
from chat.db.rows import row_mapping
from chat.domain.rooms import RoomListLoader
from chat.eventlog.event import Event, EventKind, event_notification
from chat.eventlog.notifier import Notifier
from chat.eventlog.reader import EventReader
from chat.protocol.close_codes import CloseCode
from chat.protocol.frames import Resume
from chat.protocol.notifications import encode_notifications
from chat.realtime import relay, replay
from chat.realtime.connection import Backend, ClientConnection
from chat.realtime.hub import Hub
from chat.realtime.relay import Relay
from tests.support.fake_transport import FakeTransport
from tests.support.recording_broker import RecordingBroker
from tests.support.sample_events import ALICE, BOB, line, membership
from tests.support.standing_clock import StandingClock

Args = TypeVarTuple("Args")

ROOMS = (1, 2)
USERS = (ALICE, BOB)
PAGE, RESUME_EVENTS = 3, 8
KINDS = [EventKind.MESSAGE] * 3 + [EventKind.MEMBER]  # three messages for each change of membership


class Log:
    """What PostgreSQL would hold. Answers show the state at the time of the query and come when the test says."""

    def __init__(self) -> None:
        self.events: dict[int, list[Event]] = {room: [] for room in ROOMS}
        self.members: dict[tuple[int, int], int] = {}  # user and room → the seq of the join
        self.queries: list[asyncio.Future[None]] = []
        self.at_once = False

    def add(self, room: int, user: int, kind: int) -> Event:
        """Append a message or a change of membership. As in a public room, an author joins first if necessary."""
        log = self.events[room]
        seq = len(log) + 1
        is_member = (user, room) in self.members
        if kind == EventKind.MEMBER:
            event = membership(room, seq, user, "left" if is_member else "joined")
        elif not is_member:
            event = membership(room, seq, user, "joined")
        else:
            event = line(room, seq, user, message_no=1 + sum(e.kind == EventKind.MESSAGE for e in log))
        log.append(event)
        if event.kind == EventKind.MEMBER and is_member:
            del self.members[user, room]
        elif event.kind == EventKind.MEMBER:
            self.members[user, room] = seq
        return event

    async def _answer(self, rows: Any) -> Any:
        if not self.at_once:
            gate: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self.queries.append(gate)
            await gate
        return rows

    async def fetch_value(self, name: str, type_: type) -> Any:
        assert name == "epoch/get"
        return await self._answer("one")

    async def fetch_all(self, name: str, row: Any, **params: Any) -> Any:
        rows = getattr(self, name.replace("/", "_"))(**params)
        return await self._answer(list(map(row_mapping(row).make, rows)))

    def events_list_after(
        self, room_ids: list[int], reader_ids: list[int | None], afters: list[int], limits: list[int]
    ) -> Any:
        rows: list[Any] = []
        for number, (room, after, limit) in enumerate(zip(room_ids, afters, limits, strict=True), 1):
            log = self.events[room]
            page: list[Any] = [*log[after : after + limit]] or [(None,) * 11]
            rows += [(str(number), len(log), *event) for event in page]
        return rows

    def rooms_out_of_sync(self, room_ids: list[int], seqs: list[int]) -> Any:
        return [
            (room, len(self.events[room]))
            for room, seq in zip(room_ids, seqs, strict=True)
            if len(self.events[room]) != seq
        ]

    def members_joined_since(self, user_ids: list[int], seconds: float) -> Any:
        return [(user, room, seq) for (user, room), seq in self.members.items() if user in user_ids]

    def rooms_list_joined(self, user_ids: list[int]) -> Any:
        rooms = {user: sorted(room for member, room in self.members if member == user) for user in user_ids}
        return [(user, own, [len(self.events[room]) for room in own], "[]") for user, own in rooms.items() if own]


class SimulatedConnection(ClientConnection):
    """A connection that writes no close frame, and whose peer takes what is sent when the test says."""

    def __init__(self, client: "SimulatedClient", identity: Identity) -> None:
        super().__init__(client.machine.backend, identity, speaks_v2=client.v2)
        self.client = client

    def close(self, code: CloseCode) -> None:
        self.client.pipe.closed.append(code)

    async def drain(self) -> None:
        if not self.client.machine.log.at_once:
            gate: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self.client.held.append(gate)
            await gate


class SimulatedClient:
    """One websocket with its connection, and what its peer may expect to hear next from each room."""

    def __init__(self, machine: "InterleavingMachine", user: int, v2: bool) -> None:
        self.machine, self.user, self.v2 = machine, user, v2
        self.pipe = FakeTransport()
        self.held: list[asyncio.Future[None]] = []  # replays that wait for the client
        identity = Identity(user, f"user{user}", f"user{user}@x.org", expires_at=time.time() + 1e9)
        self.connection = SimulatedConnection(self, identity)
        self.connection.connection_made(self.pipe)
        self.subscriber = self.connection.subscriber
        self.opening = machine.loop.create_task(self.connection.open())
        self.read = 0  # frames that `check` has seen
        self.next: dict[int, int | None] = {}  # v2: the number that has to come; None: only a join may
        self.left: dict[int, bool] = {}  # rooms that were left: nothing may come before a join
        self.resumes: dict[int, deque[int]] = {room: deque() for room in ROOMS}  # resumes without an answer
        self.perhaps: set[int] = set()  # rooms that are being replayed
        self.surely: set[int] = set()  # rooms that are certainly being replayed
        self.last: dict[int, int] = {}  # the original's clients: the last message heard

    @property
    def gone(self) -> bool:
        return self.pipe.aborted or bool(self.pipe.closed)

    def end(self) -> None:
        self.opening.cancel()
        self.pipe.aborted = True
        self.connection.connection_lost(None)

    def check(self) -> None:
        """Everything that came since the last look continues what came before."""
        for frame in self.pipe.frames()[self.read :]:
            self.read += 1
            if frame["type"] == 10:
                continue
            room = frame["chatroomId"]
            if frame["type"] == 14:
                assert frame["code"] in ("unavailable", "not_found"), frame
                self.resumes[room].popleft()
                self.next[room] = None
                self._replayed(room)
            elif frame["type"] == 11:
                self._check_resumed(room, frame)
            elif self.v2:
                self._check_event(room, frame)
            else:
                self._check_message(room, frame)

    def _check_resumed(self, room: int, frame: dict[str, Any]) -> None:
        after = self.resumes[room].popleft()
        if frame["complete"]:
            assert frame["from"] == after + 1
            assert frame["to"] == ((self.next[room] or 0) - 1 if room in self.perhaps else after), frame
        self.next[room], self.left[room] = frame["to"] + 1, False
        self._replayed(room)

    def _replayed(self, room: int) -> None:
        self.perhaps.discard(room)
        self.surely.discard(room)

    def _check_event(self, room: int, frame: dict[str, Any]) -> None:
        own = frame["type"] == EventKind.MEMBER and frame["userId"] == self.user
        due, seq = self.next.get(room), frame["seq"]
        begins = bool(self.resumes[room]) and seq == self.resumes[room][0] + 1
        if seq == due and (room in self.perhaps or not self.left.get(room)):
            if begins:
                self.perhaps.add(room)  # or else it is live, and the replay is still to come
        elif begins and room not in self.surely:
            self.perhaps.add(room)
            self.surely.add(room)
        else:
            assert room not in self.surely, f"{frame} in a replay where {due} was due"
            assert own and frame["action"] == "joined", f"{frame} where {due} was due"
            assert due is None or self.left[room], f"a join {frame} where {due} was due"
            assert seq >= (due or 0)
        self.next[room] = seq + 1
        self.left[room] = own and frame["action"] == "left"

    def _check_message(self, room: int, frame: dict[str, Any]) -> None:
        log, last = self.machine.log.events[room], self.last.get(room, frame["seq"])
        assert log[frame["seq"] - 1].message_no == frame["messageNo"]
        if last != frame["seq"]:
            between = log[last : frame["seq"] - 1]
            away = any(event.kind == EventKind.MEMBER and event.user_id == self.user for event in between)
            assert away or all(event.kind == EventKind.MEMBER for event in between), (
                f"a hole between {last} and {frame}"
            )
            assert frame["seq"] > last, "a message twice, or out of order"
        self.last[room] = frame["seq"]

    def check_the_end(self) -> None:
        """Once nothing is in flight, each live client has heard everything, and every membership is known."""
        rooms = {room for user, room in self.machine.log.members if user == self.user}
        live = {room for room in ROOMS if self.subscriber.is_live(room)}
        membership = self.subscriber.membership
        assert membership is not None and rooms <= membership.room_ids | live
        assert self.v2 or rooms == live
        assert not any(self.resumes.values()), "a resume was never answered"
        for room in live:
            assert not self.v2 or self.next[room] == len(self.machine.log.events[room]) + 1


class InterleavingMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.loop = StandingClock()
        self.failures: list[Any] = []
        self.loop.set_exception_handler(lambda _, context: self.failures.append(context))
        self.log = Log()
        self.notifications: list[Event] = []
        self.clients: list[SimulatedClient] = []
        self.do(self._begin)
        self.polling: asyncio.Task[None] | None = None

    def _begin(self) -> None:
        self.hub = Hub()
        self.broker = RecordingBroker()
        notifier = Notifier(self.broker)
        tokens: Any = SimpleNamespace(epoch="one")
        log: Any = self.log
        unused: Any = None
        self.relay = Relay(log, notifier, self.hub, tokens)
        self.backend = Backend(
            settings=Settings(resume_max_events=RESUME_EVENTS, rate_limit_per_s=0),
            db=unused,
            tokens=tokens,
            notifier=notifier,
            writer=unused,
            reader=EventReader(log),
            room_lists=RoomListLoader(log),
            slash_commands=unused,
            hub=self.hub,
            relay=self.relay,
        )

    def do(self, act: Callable[[*Args], object], *args: *Args) -> None:
        """Call `act` inside the loop, which then runs until nothing is ready."""

        async def inside() -> None:
            act(*args)
            for _ in range(10):
                await asyncio.sleep(0)

        self.loop.run_until_complete(inside())

    # --- what happens -------------------------------------------------------------------------------------

    @rule(
        room=st.sampled_from(ROOMS),
        user=st.sampled_from(USERS),
        kinds=st.lists(
            st.sampled_from(KINDS),
            min_size=1,
            max_size=4,
        ),
    )
    def commit(self, room: int, user: int, kinds: list[int]) -> None:
        self.notifications += [self.log.add(room, user, kind) for kind in kinds]

    @precondition(lambda self: self.notifications)
    @rule(which=st.integers(0, 20), again=st.booleans())
    def deliver(self, which: int, again: bool) -> None:
        event = (
            self.notifications[which % len(self.notifications)]
            if again
            else self.notifications.pop(which % len(self.notifications))
        )
        self.do(lambda: self.broker.receive(encode_notifications([event_notification(event)])))

    @precondition(lambda self: self.notifications)
    @rule()
    def deliver_all(self) -> None:
        notifications, self.notifications = self.notifications, []
        self.do(
            lambda: self.broker.receive(encode_notifications([event_notification(event) for event in notifications]))
        )

    @precondition(lambda self: self.notifications)
    @rule(which=st.integers(0, 20))
    def lose(self, which: int) -> None:
        self.notifications.pop(which % len(self.notifications))

    @precondition(lambda self: len(self.clients) < 6)
    @rule(user=st.sampled_from(USERS), v2=st.booleans())
    def connect(self, user: int, v2: bool) -> None:
        self.do(lambda: self.clients.append(SimulatedClient(self, user, v2)))

    @precondition(lambda self: any(client.v2 for client in self.clients))
    @rule(which=st.integers(0, 5), room=st.sampled_from(ROOMS), back=st.integers(0, 10))
    def resume(self, which: int, room: int, back: int) -> None:
        able = [client for client in self.clients if client.v2]
        client = able[which % len(able)]
        after = max(0, len(self.log.events[room]) - back)
        client.resumes[room].append(after)
        self.do(lambda: client.connection.resume(Resume(room, after)))

    @precondition(lambda self: self.log.queries)
    @rule(which=st.integers(0, 5), well=st.integers(0, 9))
    def answer(self, which: int, well: int) -> None:
        gate = self.log.queries.pop(which % len(self.log.queries))
        if not gate.done():
            self.do(lambda: gate.set_result(None) if well else gate.set_exception(Unreachable()))

    @precondition(lambda self: any(client.held for client in self.clients))
    @rule()
    def read_on(self) -> None:
        client = next(client for client in self.clients if client.held)
        gate = client.held.pop()
        if not gate.done():
            self.do(lambda: gate.set_result(None))

    @precondition(lambda self: self.polling is None or self.polling.done())
    @rule()
    def poll(self) -> None:
        async def polled() -> None:
            with contextlib.suppress(Unreachable):
                await self.relay.poll()

        def begin() -> None:
            self.polling = self.loop.create_task(polled())

        self.do(begin)

    @rule(seconds=st.sampled_from([0.04, 0.06, 1.0]))
    def wait(self, seconds: float) -> None:
        self.loop.now += seconds
        self.do(lambda: None)

    @precondition(lambda self: self.clients)
    @rule(which=st.integers(0, 5))
    def stop_reading(self, which: int) -> None:
        self.clients[which % len(self.clients)].pipe.unsent_bytes = 1 << 30

    @precondition(lambda self: self.clients)
    @rule(which=st.integers(0, 5))
    def go(self, which: int) -> None:
        client = self.clients.pop(which % len(self.clients))
        self.do(client.end)

    # --- what has to hold ---------------------------------------------------------------------------------

    @invariant()
    def every_socket_hears_a_dense_run(self) -> None:
        assert not self.failures, self.failures
        for client in list(self.clients):
            client.check()
            if client.gone:
                self.clients.remove(client)
                self.do(client.end)

    def teardown(self) -> None:
        try:
            self._come_to_rest()
            self.every_socket_hears_a_dense_run()
            for client in self.clients:
                client.check_the_end()
            self.notifications.clear()  # what has not come by now is lost
            self._say_a_last_word()
        finally:
            for client in self.clients:
                self.do(client.end)
            for task in asyncio.all_tasks(self.loop):
                task.cancel()
            self.do(lambda: None)
            self.loop.close()

    def _say_a_last_word(self) -> None:
        """A message in each room comes to every client that is live there, and to no other."""
        for room in ROOMS:
            self.commit(room, ALICE, [EventKind.MESSAGE] * 2)  # perhaps a join and a message
            last = len(self.log.events[room])
            self.deliver_all()
            for client in (each for each in self.clients if not each.gone):  # this may be too much for a slow reader
                frame = client.pipe.frames()[-1:]
                heard = bool(frame) and (frame[0].get("chatroomId"), frame[0].get("seq")) == (room, last)
                is_member = (client.user, room) in self.log.members
                assert heard == client.subscriber.is_live(room)
                assert client.v2 or heard == is_member

    def _come_to_rest(self) -> None:
        """From now on everything answers, and the poll runs repeatedly."""
        self.log.at_once = True
        for _ in range(8):
            for gate in (*self.log.queries, *(gate for client in self.clients for gate in client.held)):
                if not gate.done():
                    self.do(gate.set_result, None)
            if self.polling is None or self.polling.done():
                self.poll()
            for _ in range(3):
                self.wait(1.0)


@pytest.fixture(autouse=True)
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replay, "PAGE_EVENTS", PAGE)
    monkeypatch.setattr(relay, "GAP_FILL_ROWS", PAGE)


class ListenerMachine(InterleavingMachine):
    """Connections of the original's language, all of one user: they share what they are live in."""

    @precondition(lambda self: len(self.clients) < 6)
    @rule(user=st.just(ALICE), v2=st.just(False))
    def connect(self, user: int, v2: bool) -> None:
        super().connect(user, v2)


TestInterleavings = InterleavingMachine.TestCase
TestInterleavings.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)

TestListenerInterleavings = ListenerMachine.TestCase
TestListenerInterleavings.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)
