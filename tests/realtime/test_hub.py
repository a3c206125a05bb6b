"""chat/realtime/hub.py: one tick, one write; one dense run of numbers for every socket, whatever happens in between."""

import asyncio
import json
import tracemalloc
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from chat.eventlog.event import Event, event_notification
from chat.protocol.close_codes import CloseCode
from chat.protocol.frames import FrameType
from chat.protocol.notifications import Notification, Subject
from chat.realtime import hub as module
from chat.realtime.hub import Hub
from chat.realtime.subscriber import RoomState, Subscriber
from chat.realtime.websocket_frames import text_frame
from tests.support.fake_transport import FakeTransport
from tests.support.sample_events import ALICE, BOB, line, membership

ROOM = 7


class Here:
    """A hub, and the sockets in it."""

    def __init__(self) -> None:
        self.hub = Hub()
        self.gaps: list[int] = []
        self.hub.on_gap = self.gaps.append

    def socket(
        self, user: int = ALICE, rooms: dict[int, int] | None = None, *, v2: bool = True, cap: int = 10_000
    ) -> tuple[Subscriber, FakeTransport]:
        pipe = FakeTransport()
        closed: Callable[[CloseCode], None] = pipe.closed.append
        socket = Subscriber(user, pipe, closed, speaks_v2=v2, buffer_limit_bytes=cap)
        self.hub.connect(socket)
        self.hub.set_membership(socket, rooms or {})
        return socket, pipe

    def live(self, user: int = ALICE, seq: int = 0, **options: Any) -> FakeTransport:
        return self.listens(user, seq, **options)[1]

    def listens(self, user: int = ALICE, seq: int = 0, **options: Any) -> tuple[Subscriber, FakeTransport]:
        socket, pipe = self.socket(user, {ROOM: seq}, **options)
        if socket.speaks_v2:
            self.hub.join(socket, ROOM, seq)
        return socket, pipe

    def deliver(self, *events: Event) -> None:
        for event in events:
            self.hub.deliver(event_notification(event))

    def says(self, *seqs: int) -> None:
        self.deliver(*(line(ROOM, seq) for seq in seqs))


@pytest.fixture
async def here() -> AsyncIterator[Here]:
    yield Here()
    await asyncio.sleep(0)


@pytest.mark.parametrize("size", [0, 125, 126, 65_535, 65_536])
def test_a_frame_has_the_header_of_its_length(size: int) -> None:
    pipe = FakeTransport()
    pipe.write(text_frame(b" " * size))
    assert pipe.payloads == [b" " * size]


async def test_what_comes_in_one_tick_is_one_write(here: Here) -> None:
    alice, bob = here.live(ALICE), here.live(BOB)
    here.says(1, 2, 3)
    assert alice.writes == 0
    await asyncio.sleep(0)
    assert (alice.writes, bob.writes) == (1, 1)
    assert alice.seqs(ROOM) == bob.seqs(ROOM) == [1, 2, 3]


async def test_old_numbers_are_dropped_and_early_ones_wait_for_their_elders(here: Here) -> None:
    alice = here.live()
    here.says(1, 1, 3, 4, 1, 3, 2, 4, 2)
    await asyncio.sleep(0)
    assert alice.seqs(ROOM) == [1, 2, 3, 4]
    await asyncio.sleep(module.REORDER_WAIT_S * 2)
    assert here.gaps == []


async def test_a_gap_that_does_not_close_is_asked_for_until_it_does(
    here: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "REORDER_WAIT_S", 0.005)
    alice = here.live()
    here.says(3)
    async with asyncio.timeout(1):
        while len(here.gaps) < 2:
            await asyncio.sleep(0.005)
    here.says(1, 2)
    await asyncio.sleep(0)
    assert alice.seqs(ROOM) == [1, 2, 3]
    asked = len(here.gaps)
    await asyncio.sleep(0.1)
    assert len(here.gaps) == asked


async def test_a_room_holds_back_only_so_much(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "REORDER_BUFFER_EVENTS", 10)
    alice = here.live()
    here.says(*range(2, 100))
    here.says(1)
    await asyncio.sleep(0)
    assert alice.seqs(ROOM) == list(range(1, 12))


async def test_who_joins_hears_nothing_of_before_not_even_of_this_tick(here: Here) -> None:
    here.live(ALICE)
    here.says(1, 2)
    bob = here.live(BOB, seq=2)
    here.says(3)
    await asyncio.sleep(0)
    assert bob.seqs(ROOM) == [3]


async def test_the_original_language_gets_messages_only(here: Here) -> None:
    old, new = here.live(ALICE, v2=False), here.live(ALICE)
    here.deliver(line(ROOM, 1), membership(ROOM, 2, BOB, "joined"), line(ROOM, 3))
    await asyncio.sleep(0)
    assert old.seqs(ROOM) == [1, 3]
    assert new.seqs(ROOM) == [1, 2, 3]


async def test_what_was_never_stored_is_sent_without_counting(here: Here) -> None:
    alice = here.live()
    here.says(1)
    here.hub.deliver(Notification(ROOM, None, FrameType.MESSAGE, b'{"type":1,"chatmessage":"/stock=X"}'))
    here.says(2)
    await asyncio.sleep(0)
    assert [json.loads(frame).get("seq") for frame in alice.payloads] == [1, None, 2]


async def test_a_read_mark_goes_to_all_sockets_of_its_user_and_to_nobody_else(here: Here) -> None:
    desk, phone = here.socket(ALICE)[1], here.socket(ALICE)[1]
    old, bob = here.socket(ALICE, v2=False)[1], here.socket(BOB)[1]
    here.hub.deliver(Notification(ROOM, None, FrameType.READ_MARKER, b'{"type":17}', (Subject(ALICE, True),)))
    assert [len(pipe.payloads) for pipe in (desk, phone, old, bob)] == [1, 1, 0, 0]


# --- joins and leaves ---------------------------------------------------------------------------------


async def test_a_join_elsewhere_makes_every_socket_of_the_user_live(here: Here) -> None:
    desk, phone = here.socket(ALICE)[1], here.socket(ALICE, v2=False)[1]
    here.deliver(membership(ROOM, 5, ALICE, "joined"), line(ROOM, 6))
    await asyncio.sleep(0)
    assert desk.seqs(ROOM) == [5, 6]
    assert phone.seqs(ROOM) == [6]


async def test_a_room_that_is_known_stays_silent_until_it_is_resumed(here: Here) -> None:
    pipe = here.socket(ALICE, {ROOM: 4})[1]
    here.deliver(membership(ROOM, 5, ALICE, "joined"), line(ROOM, 6))
    await asyncio.sleep(0)
    assert pipe.payloads == []
    assert here.hub.last_sent_seq(ROOM) is None


async def test_a_join_does_not_get_before_a_resume(here: Here) -> None:
    socket, pipe = here.socket(ALICE)
    socket.states[ROOM] = RoomState.RESUMING
    here.deliver(membership(ROOM, 5, ALICE, "joined"))
    assert socket.states == {ROOM: RoomState.RESUMING}
    here.deliver(membership(ROOM, 6, ALICE, "left"))
    assert socket.states == {ROOM: RoomState.LEFT_WHILE_RESUMING}
    here.deliver(membership(ROOM, 7, ALICE, "joined"))
    assert socket.states == {ROOM: RoomState.RESUMING}
    await asyncio.sleep(0)
    assert pipe.payloads == []


async def test_a_leave_is_the_last_that_is_heard(here: Here) -> None:
    alice, bob = here.live(ALICE), here.live(BOB)
    here.deliver(line(ROOM, 1), membership(ROOM, 2, ALICE, "left"), line(ROOM, 3))
    await asyncio.sleep(0)
    assert alice.seqs(ROOM) == [1, 2]
    assert bob.seqs(ROOM) == [1, 2, 3]


async def test_a_room_knows_what_never_passed_by_here(here: Here) -> None:
    here.live(ALICE, seq=5)
    here.says(6, 7)
    assert here.hub.opened_after({99: 0, ROOM: 4})
    assert not here.hub.opened_after({ROOM: 5}) and not here.hub.opened_after({ROOM: 6})
    assert not here.hub.opened_after({99: 0})
    assert here.hub.behind({ROOM: 8, 99: 9}) == [ROOM]
    assert here.hub.behind({ROOM: 7}) == []


async def test_a_join_that_comes_after_its_leave_is_too_late(here: Here) -> None:
    joined, left = membership(ROOM, 5, ALICE, "joined"), membership(ROOM, 7, ALICE, "left")
    pipe = here.socket(ALICE)[1]
    here.deliver(joined, line(ROOM, 6), left, joined, line(ROOM, 6))
    await asyncio.sleep(0)
    assert pipe.seqs(ROOM) == [5, 6, 7]
    here.deliver(membership(ROOM, 8, ALICE, "joined"))
    await asyncio.sleep(0)
    assert pipe.seqs(ROOM) == [5, 6, 7, 8]


async def test_the_last_leave_forgets_the_room(here: Here) -> None:
    here.live(ALICE)
    here.deliver(membership(ROOM, 1, ALICE, "left"))
    assert here.hub.positions() == ([], [])


async def test_what_changes_before_the_first_look_only_says_look_again(here: Here) -> None:
    socket, pipe = here.socket(ALICE)
    socket.membership = None
    here.deliver(membership(ROOM, 5, ALICE, "joined"))
    await asyncio.sleep(0)
    assert socket.membership_changed and pipe.payloads == []
    assert here.hub.last_sent_seq(ROOM) is None


# --- connections of the original's language share what they are live in ------------------------------


async def test_two_of_one_user_hear_the_same_from_when_each_began(here: Here) -> None:
    first = here.live(ALICE, v2=False)
    here.says(1)
    second = here.live(ALICE, seq=1, v2=False)  # in the tick in which 1 still waits to be written
    here.says(2)
    await asyncio.sleep(0)
    assert (first.seqs(ROOM), second.seqs(ROOM)) == ([1, 2], [2])


async def test_the_first_that_goes_takes_nothing_from_the_second(here: Here) -> None:
    (first, gone), second = here.listens(ALICE, v2=False), here.live(ALICE, v2=False)
    here.hub.disconnect(first)
    here.hub.disconnect(first)
    here.says(1)
    await asyncio.sleep(0)
    assert (gone.payloads, second.seqs(ROOM)) == ([], [1])


async def test_a_slow_one_is_cut_and_the_other_of_its_user_is_not(here: Here) -> None:
    slow, quick = here.live(ALICE, v2=False, cap=100), here.live(ALICE, v2=False, cap=100)
    slow.stuck = True
    for seq in range(1, 5):
        here.says(seq)
        await asyncio.sleep(0)
    assert slow.aborted and not quick.aborted
    assert quick.seqs(ROOM) == [1, 2, 3, 4]


async def test_a_leave_and_a_join_count_for_all_of_the_user(here: Here) -> None:
    pipes = [here.live(ALICE, v2=False) for _ in range(2)]
    bob = here.live(BOB, v2=False)
    here.deliver(line(ROOM, 1), membership(ROOM, 2, ALICE, "left"), line(ROOM, 3))
    here.deliver(membership(ROOM, 4, ALICE, "joined"), line(ROOM, 5))
    await asyncio.sleep(0)
    assert [pipe.seqs(ROOM) for pipe in (*pipes, bob)] == [[1, 5], [1, 5], [1, 3, 5]]


async def test_one_that_knows_other_rooms_is_live_in_those_alone(here: Here) -> None:
    here.socket(ALICE, {8: 0})  # chat.v2: live nowhere
    old, new = here.socket(ALICE, {8: 0}, v2=False)[1], here.socket(ALICE, {ROOM: 0, 8: 0}, v2=False)[1]
    here.deliver(line(ROOM, 1), line(8, 1))
    await asyncio.sleep(0)
    assert (old.seqs(ROOM), old.seqs(8)) == ([], [1])
    assert (new.seqs(ROOM), new.seqs(8)) == ([1], [1])


async def test_the_last_that_goes_closes_its_rooms(here: Here) -> None:
    sockets = [here.socket(ALICE, {ROOM: 0, 8: 3}, v2=v2)[0] for v2 in (True, False, False)]
    assert here.hub.positions() == ([ROOM, 8], [0, 3])
    for socket in sockets[1:]:
        here.hub.disconnect(socket)
    assert here.hub.positions() == ([], [])
    again = here.live(ALICE, seq=4, v2=False)
    here.says(5)
    await asyncio.sleep(0)
    assert again.seqs(ROOM) == [5]


async def test_what_connections_keep_does_not_grow_with_the_rooms_of_their_user(here: Here) -> None:
    rooms = dict.fromkeys(range(1, 2_001), 0)

    def bytes_of_fifty(*, v2: bool) -> int:
        before = tracemalloc.get_traced_memory()[0]
        fifty = [here.socket(ALICE, rooms, v2=v2)[0] for _ in range(50)]
        taken = tracemalloc.get_traced_memory()[0] - before
        assert all(each.is_live(1) is not v2 for each in fifty)
        return taken

    kept = here.socket(ALICE, rooms, v2=False)[0]
    tracemalloc.start()
    try:
        taken = [bytes_of_fifty(v2=False), bytes_of_fifty(v2=True)]
    finally:
        tracemalloc.stop()
    assert kept.is_live(2_000)
    assert max(taken) < 50 * 2_000  # a byte for each room would be more


# --- the end ------------------------------------------------------------------------------------------


async def test_a_reader_that_is_too_slow_is_cut_and_the_others_are_not(here: Here) -> None:
    slow, quick = here.live(ALICE, cap=100), here.live(BOB, cap=100)
    slow.stuck = True
    for seq in range(1, 5):
        here.says(seq)
        await asyncio.sleep(0)
    assert slow.aborted and not quick.aborted
    assert quick.seqs(ROOM) == [1, 2, 3, 4]


async def test_a_socket_that_is_gone_is_forgotten_everywhere(here: Here) -> None:
    socket, _ = here.socket(ALICE)
    here.hub.join(socket, ROOM, 0)
    here.says(2)
    here.hub.disconnect(socket)
    here.hub.disconnect(socket)
    assert (here.hub.positions(), here.hub.users(), here.hub.subscribers()) == (([], []), [], [])
    await asyncio.sleep(module.REORDER_WAIT_S * 2)
    assert here.gaps == []


async def test_a_forgotten_room_gives_up_its_sockets(here: Here) -> None:
    pipe = here.live(ALICE)
    assert len(here.hub.forget(ROOM)) == 1
    assert here.hub.forget(ROOM) == []
    here.says(1)
    await asyncio.sleep(0)
    assert pipe.payloads == []
