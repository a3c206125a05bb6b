"""chat/realtime/hub.py: one write for each tick, and a dense run of numbers for every subscriber."""

import asyncio
import json
import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest

from chat.eventlog.event import Event, EventKind, event_notification
from chat.protocol.close_codes import CloseCode
from chat.protocol.frames import FrameType
from chat.protocol.notifications import Notification, Subject
from chat.realtime import hub as module
from chat.realtime.hub import Hub
from chat.realtime.subscriber import RoomState, Subscriber
from chat.realtime.websocket_frames import text_frame
from tests.support.fake_transport import FakeTransport
from tests.support.sample_events import ALICE, BOB, line, membership
from tests.support.standing_clock import advance, on_standing_clock

ROOM = 7


class HubHarness:
    """A hub and its subscribers."""

    def __init__(self) -> None:
        self.hub = Hub()
        self.gaps: list[int] = []
        self.hub.on_gap = self.gaps.append

    def subscribe(
        self, user: int = ALICE, rooms: dict[int, int] | None = None, *, v2: bool = True, limit: int = 10_000
    ) -> tuple[Subscriber, FakeTransport]:
        pipe = FakeTransport()
        closed: Callable[[CloseCode], None] = pipe.closed.append
        subscriber = Subscriber(user, pipe, closed, speaks_v2=v2, buffer_limit_bytes=limit)
        self.hub.connect(subscriber)
        self.hub.set_membership(subscriber, rooms or {})
        return subscriber, pipe

    def live(self, user: int = ALICE, seq: int = 0, **options: Any) -> FakeTransport:
        return self.listens(user, seq, **options)[1]

    def listens(self, user: int = ALICE, seq: int = 0, **options: Any) -> tuple[Subscriber, FakeTransport]:
        subscriber, pipe = self.subscribe(user, {ROOM: seq}, **options)
        if subscriber.speaks_v2:
            self.hub.join(subscriber, ROOM, seq)
        return subscriber, pipe

    def deliver(self, *events: Event) -> None:
        for event in events:
            self.hub.deliver(event_notification(event))

    def says(self, *seqs: int) -> None:
        self.deliver(*(line(ROOM, seq) for seq in seqs))


def change_of_members(seq: int, *subjects: Subject) -> Notification:
    """A made-up event that changes the membership of several users."""
    frame = json.dumps({"type": EventKind.MEMBER, "chatroomId": ROOM, "seq": seq}).encode()
    return Notification(ROOM, seq, EventKind.MEMBER, frame, subjects)


@pytest.fixture
def harness() -> HubHarness:
    return HubHarness()


@pytest.mark.parametrize("size", [0, 125, 126, 65_535, 65_536])
def test_a_frame_has_the_header_of_its_length(size: int) -> None:
    pipe = FakeTransport()
    pipe.write(text_frame(b" " * size))
    assert pipe.payloads == [b" " * size]


async def test_the_events_of_one_tick_are_one_write(harness: HubHarness) -> None:
    alice, bob = harness.live(ALICE), harness.live(BOB)
    harness.says(1, 2, 3)
    assert alice.writes == 0
    await asyncio.sleep(0)
    assert (alice.writes, bob.writes) == (1, 1)
    assert alice.seqs(ROOM) == bob.seqs(ROOM) == [1, 2, 3]


@on_standing_clock
async def test_old_numbers_are_dropped_and_early_ones_wait_for_the_numbers_before_them(harness: HubHarness) -> None:
    alice = harness.live()
    harness.says(1, 1, 3, 4, 1, 3, 2, 4, 2)
    await asyncio.sleep(0)
    assert alice.seqs(ROOM) == [1, 2, 3, 4]
    await advance(module.REORDER_WAIT_S * 2)
    assert harness.gaps == []


@on_standing_clock
async def test_a_gap_is_reported_until_it_closes(harness: HubHarness) -> None:
    alice = harness.live()
    harness.says(3)
    await advance(module.REORDER_WAIT_S * 0.9)
    assert harness.gaps == []
    await advance(module.REORDER_WAIT_S * 0.2)
    assert harness.gaps == [ROOM]
    await advance(module.REORDER_WAIT_S * 10)
    assert harness.gaps == [ROOM, ROOM]
    harness.says(1, 2)
    await asyncio.sleep(0)
    assert alice.seqs(ROOM) == [1, 2, 3]
    await advance(module.REORDER_WAIT_S * 100)
    assert harness.gaps == [ROOM, ROOM]


async def test_the_reorder_buffer_of_a_room_is_limited(harness: HubHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "REORDER_BUFFER_EVENTS", 10)
    alice = harness.live()
    harness.says(*range(2, 100))
    harness.says(1)
    await asyncio.sleep(0)
    assert alice.seqs(ROOM) == list(range(1, 12))


async def test_a_new_subscriber_gets_no_earlier_event_not_even_of_this_tick(harness: HubHarness) -> None:
    harness.live(ALICE)
    harness.says(1, 2)
    bob = harness.live(BOB, seq=2)
    harness.says(3)
    await asyncio.sleep(0)
    assert bob.seqs(ROOM) == [3]


async def test_the_original_language_gets_messages_only(harness: HubHarness) -> None:
    old, new = harness.live(ALICE, v2=False), harness.live(ALICE)
    harness.deliver(line(ROOM, 1), membership(ROOM, 2, BOB, "joined"), line(ROOM, 3))
    await asyncio.sleep(0)
    assert old.seqs(ROOM) == [1, 3]
    assert new.seqs(ROOM) == [1, 2, 3]


async def test_an_event_that_was_never_stored_is_sent_without_counting(harness: HubHarness) -> None:
    alice = harness.live()
    harness.says(1)
    harness.hub.deliver(Notification(ROOM, None, FrameType.MESSAGE, b'{"type":1,"chatmessage":"/stock=X"}'))
    harness.says(2)
    await asyncio.sleep(0)
    assert [json.loads(frame).get("seq") for frame in alice.payloads] == [1, None, 2]


async def test_a_read_marker_goes_to_the_v2_subscribers_of_its_user_alone(harness: HubHarness) -> None:
    laptop, phone = harness.subscribe(ALICE)[1], harness.subscribe(ALICE)[1]
    old, bob = harness.subscribe(ALICE, v2=False)[1], harness.subscribe(BOB)[1]
    harness.hub.deliver(Notification(ROOM, None, FrameType.READ_MARKER, b'{"type":17}', (Subject(ALICE, True),)))
    assert [len(pipe.payloads) for pipe in (laptop, phone, old, bob)] == [1, 1, 0, 0]


# --- joins and leaves ---------------------------------------------------------------------------------


async def test_a_join_elsewhere_makes_every_subscriber_of_the_user_live(harness: HubHarness) -> None:
    laptop, phone = harness.subscribe(ALICE)[1], harness.subscribe(ALICE, v2=False)[1]
    harness.deliver(membership(ROOM, 5, ALICE, "joined"), line(ROOM, 6))
    await asyncio.sleep(0)
    assert laptop.seqs(ROOM) == [5, 6]
    assert phone.seqs(ROOM) == [6]


async def test_a_room_that_is_known_stays_silent_until_it_is_resumed(harness: HubHarness) -> None:
    pipe = harness.subscribe(ALICE, {ROOM: 4})[1]
    harness.deliver(membership(ROOM, 5, ALICE, "joined"), line(ROOM, 6))
    await asyncio.sleep(0)
    assert pipe.payloads == []
    assert harness.hub.last_sent_seq(ROOM) is None


async def test_a_join_does_not_overtake_a_resume(harness: HubHarness) -> None:
    subscriber, pipe = harness.subscribe(ALICE)
    subscriber.states[ROOM] = RoomState.RESUMING
    harness.deliver(membership(ROOM, 5, ALICE, "joined"))
    assert subscriber.states == {ROOM: RoomState.RESUMING}
    harness.deliver(membership(ROOM, 6, ALICE, "left"))
    assert subscriber.states == {ROOM: RoomState.LEFT_WHILE_RESUMING}
    harness.deliver(membership(ROOM, 7, ALICE, "joined"))
    assert subscriber.states == {ROOM: RoomState.RESUMING}
    await asyncio.sleep(0)
    assert pipe.payloads == []


async def test_a_leave_is_the_last_event_that_its_user_gets(harness: HubHarness) -> None:
    alice, bob = harness.live(ALICE), harness.live(BOB)
    harness.deliver(line(ROOM, 1), membership(ROOM, 2, ALICE, "left"), line(ROOM, 3))
    await asyncio.sleep(0)
    assert alice.seqs(ROOM) == [1, 2]
    assert bob.seqs(ROOM) == [1, 2, 3]


async def test_a_room_knows_which_numbers_this_process_never_followed(harness: HubHarness) -> None:
    harness.live(ALICE, seq=5)
    harness.says(6, 7)
    assert harness.hub.opened_after({99: 0, ROOM: 4})
    assert not harness.hub.opened_after({ROOM: 5}) and not harness.hub.opened_after({ROOM: 6})
    assert not harness.hub.opened_after({99: 0})
    assert harness.hub.behind({ROOM: 8, 99: 9}) == [ROOM]
    assert harness.hub.behind({ROOM: 7}) == []


async def test_a_join_that_comes_after_its_leave_is_too_late(harness: HubHarness) -> None:
    joined, left = membership(ROOM, 5, ALICE, "joined"), membership(ROOM, 7, ALICE, "left")
    pipe = harness.subscribe(ALICE)[1]
    harness.deliver(joined, line(ROOM, 6), left, joined, line(ROOM, 6))
    await asyncio.sleep(0)
    assert pipe.seqs(ROOM) == [5, 6, 7]
    harness.deliver(membership(ROOM, 8, ALICE, "joined"))
    await asyncio.sleep(0)
    assert pipe.seqs(ROOM) == [5, 6, 7, 8]


async def test_the_last_leave_forgets_the_room(harness: HubHarness) -> None:
    harness.live(ALICE)
    harness.deliver(membership(ROOM, 1, ALICE, "left"))
    assert harness.hub.positions() == ([], [])


async def test_a_change_before_the_membership_is_read_only_sets_a_flag(harness: HubHarness) -> None:
    subscriber, pipe = harness.subscribe(ALICE)
    subscriber.membership = None
    harness.deliver(membership(ROOM, 5, ALICE, "joined"))
    await asyncio.sleep(0)
    assert subscriber.membership_changed and pipe.payloads == []
    assert harness.hub.last_sent_seq(ROOM) is None


async def test_one_event_may_have_several_subjects(harness: HubHarness) -> None:
    """Two users join and one leaves: those that join get the event first, the one that leaves gets it last."""
    carol, dave = 3, 4
    alice, dave_pipe = harness.live(ALICE), harness.live(dave)
    bob, carol_pipe = harness.subscribe(BOB)[1], harness.subscribe(carol, v2=False)[1]
    harness.says(1)
    harness.hub.deliver(change_of_members(2, Subject(BOB, True), Subject(dave, False), Subject(carol, True)))
    harness.says(3)
    await asyncio.sleep(0)
    assert alice.seqs(ROOM) == [1, 2, 3]
    assert bob.seqs(ROOM) == [2, 3]
    assert carol_pipe.seqs(ROOM) == [3]
    assert dave_pipe.seqs(ROOM) == [1, 2]
    assert harness.hub.last_sent_seq(ROOM) == 3


async def test_an_event_with_several_subjects_opens_a_room_for_any_of_them(harness: HubHarness) -> None:
    bob = harness.subscribe(BOB)[1]
    elsewhere = 99
    harness.hub.deliver(change_of_members(5, Subject(elsewhere, True), Subject(BOB, True), Subject(ALICE, False)))
    harness.says(6)
    await asyncio.sleep(0)
    assert bob.seqs(ROOM) == [5, 6]


async def test_an_event_by_which_every_user_here_leaves_forgets_the_room(harness: HubHarness) -> None:
    alice, bob = harness.live(ALICE), harness.live(BOB)
    harness.hub.deliver(change_of_members(1, Subject(ALICE, False), Subject(BOB, False)))
    await asyncio.sleep(0)
    assert alice.seqs(ROOM) == bob.seqs(ROOM) == [1]
    assert harness.hub.positions() == ([], [])


# --- connections of the original's language share what they are live in ------------------------------


async def test_two_of_one_user_hear_the_same_from_when_each_began(harness: HubHarness) -> None:
    first = harness.live(ALICE, v2=False)
    harness.says(1)
    second = harness.live(ALICE, seq=1, v2=False)  # in the tick in which 1 still waits to be written
    harness.says(2)
    await asyncio.sleep(0)
    assert (first.seqs(ROOM), second.seqs(ROOM)) == ([1, 2], [2])


async def test_the_first_that_goes_takes_nothing_from_the_second(harness: HubHarness) -> None:
    (first, gone), second = harness.listens(ALICE, v2=False), harness.live(ALICE, v2=False)
    harness.hub.disconnect(first)
    harness.hub.disconnect(first)
    harness.says(1)
    await asyncio.sleep(0)
    assert (gone.payloads, second.seqs(ROOM)) == ([], [1])


async def test_a_slow_one_is_cut_and_the_other_of_its_user_is_not(harness: HubHarness) -> None:
    slow, quick = harness.live(ALICE, v2=False, limit=100), harness.live(ALICE, v2=False, limit=100)
    slow.stuck = True
    for seq in range(1, 5):
        harness.says(seq)
        await asyncio.sleep(0)
    assert slow.aborted and not quick.aborted
    assert quick.seqs(ROOM) == [1, 2, 3, 4]


async def test_a_leave_and_a_join_count_for_all_of_the_user(harness: HubHarness) -> None:
    pipes = [harness.live(ALICE, v2=False) for _ in range(2)]
    bob = harness.live(BOB, v2=False)
    harness.deliver(line(ROOM, 1), membership(ROOM, 2, ALICE, "left"), line(ROOM, 3))
    harness.deliver(membership(ROOM, 4, ALICE, "joined"), line(ROOM, 5))
    await asyncio.sleep(0)
    assert [pipe.seqs(ROOM) for pipe in (*pipes, bob)] == [[1, 5], [1, 5], [1, 3, 5]]


async def test_one_that_knows_other_rooms_is_live_in_those_alone(harness: HubHarness) -> None:
    harness.subscribe(ALICE, {8: 0})  # chat.v2: live nowhere
    old, new = harness.subscribe(ALICE, {8: 0}, v2=False)[1], harness.subscribe(ALICE, {ROOM: 0, 8: 0}, v2=False)[1]
    harness.deliver(line(ROOM, 1), line(8, 1))
    await asyncio.sleep(0)
    assert (old.seqs(ROOM), old.seqs(8)) == ([], [1])
    assert (new.seqs(ROOM), new.seqs(8)) == ([1], [1])


async def test_the_last_that_goes_closes_its_rooms(harness: HubHarness) -> None:
    sockets = [harness.subscribe(ALICE, {ROOM: 0, 8: 3}, v2=v2)[0] for v2 in (True, False, False)]
    assert harness.hub.positions() == ([ROOM, 8], [0, 3])
    for socket in sockets[1:]:
        harness.hub.disconnect(socket)
    assert harness.hub.positions() == ([], [])
    again = harness.live(ALICE, seq=4, v2=False)
    harness.says(5)
    await asyncio.sleep(0)
    assert again.seqs(ROOM) == [5]


async def test_what_connections_keep_does_not_grow_with_the_rooms_of_their_user(harness: HubHarness) -> None:
    rooms = dict.fromkeys(range(1, 2_001), 0)

    def bytes_of_fifty(*, v2: bool) -> int:
        before = tracemalloc.get_traced_memory()[0]
        fifty = [harness.subscribe(ALICE, rooms, v2=v2)[0] for _ in range(50)]
        taken = tracemalloc.get_traced_memory()[0] - before
        assert all(each.is_live(1) is not v2 for each in fifty)
        return taken

    kept = harness.subscribe(ALICE, rooms, v2=False)[0]
    tracemalloc.start()
    try:
        taken = [bytes_of_fifty(v2=False), bytes_of_fifty(v2=True)]
    finally:
        tracemalloc.stop()
    assert kept.is_live(2_000)
    assert max(taken) < 50 * 2_000  # a byte for each room would be more


# --- the end ------------------------------------------------------------------------------------------


async def test_a_slow_reader_is_disconnected_and_the_others_are_not(harness: HubHarness) -> None:
    slow, quick = harness.live(ALICE, limit=100), harness.live(BOB, limit=100)
    slow.stuck = True
    for seq in range(1, 5):
        harness.says(seq)
        await asyncio.sleep(0)
    assert slow.aborted and not quick.aborted
    assert quick.seqs(ROOM) == [1, 2, 3, 4]


@on_standing_clock
async def test_a_disconnected_subscriber_is_forgotten_everywhere(harness: HubHarness) -> None:
    subscriber, _ = harness.subscribe(ALICE)
    harness.hub.join(subscriber, ROOM, 0)
    harness.says(2)
    harness.hub.disconnect(subscriber)
    harness.hub.disconnect(subscriber)
    assert (harness.hub.positions(), harness.hub.users(), harness.hub.subscribers()) == (([], []), [], [])
    await advance(module.REORDER_WAIT_S * 100)
    assert harness.gaps == []


async def test_a_forgotten_room_returns_its_subscribers(harness: HubHarness) -> None:
    pipe = harness.live(ALICE)
    assert len(harness.hub.forget(ROOM)) == 1
    assert harness.hub.forget(ROOM) == []
    harness.says(1)
    await asyncio.sleep(0)
    assert pipe.payloads == []
