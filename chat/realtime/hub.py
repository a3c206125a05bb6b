"""The connections of this process, and what each of them has been sent.

For each room with a live connection here: the last number sent, and the subscribers. All methods are plain functions:
between two ticks of the loop nothing is half done, and no lock is needed.

    the next number      → out, with one websocket header, in one write for each connection and tick
    an old number        → dropped: it has been sent
    a number too far     → waits 50 ms for the numbers before it, then `on_gap` has them read from PostgreSQL

So whatever delivers (notification, gap fill, poll, replay) may do it late, twice or in any order.
"""

import asyncio
from collections.abc import Callable, Iterable

from chat.protocol.frames import FrameType
from chat.protocol.notifications import Notification
from chat.realtime.subscriber import Membership, RoomState, Subscriber
from chat.realtime.websocket_frames import text_frame

REORDER_WAIT_S = 0.05  # two processes overtake one another in normal running; that is over sooner than this
REORDER_BUFFER_EVENTS = 1_000  # events that a room holds back while it waits for a gap; the rest is read again


class _RoomChannel:
    """A room with live connections here.

    seq: the last number sent
    opened_at_seq: the number at which this process began to follow the room
    plain, v2: the live subscribers, by the language that they speak
    outgoing_plain, outgoing_v2: the frames of this tick for each of them
    """

    __slots__ = (
        "opened_at_seq",
        "outgoing_plain",
        "outgoing_v2",
        "plain",
        "reorder_buffer",
        "reorder_timer",
        "seq",
        "v2",
    )

    def __init__(self, seq: int) -> None:
        self.opened_at_seq = self.seq = seq
        self.plain: set[Subscriber] = set()
        self.v2: set[Subscriber] = set()
        self.outgoing_plain: list[bytes] = []
        self.outgoing_v2: list[bytes] = []
        self.reorder_buffer: dict[int, Notification] = {}
        self.reorder_timer: asyncio.TimerHandle | None = None

    @property
    def is_empty(self) -> bool:
        return not self.plain and not self.v2


class Hub:
    """All connections and live rooms of this process.

    on_gap: called with a room's id when numbers are missing that do not come by themselves; the relay sets it
    """

    def __init__(self) -> None:
        self.on_gap: Callable[[int], object] = lambda room_id: None
        self._channels: dict[int, _RoomChannel] = {}
        self._users: dict[int, set[Subscriber]] = {}
        self._dirty: list[_RoomChannel] = []  # with something to write at the end of this tick

    # --- who is here ----------------------------------------------------------------------------------

    def connect(self, subscriber: Subscriber) -> None:
        """From now on the user's joins, leaves and read markers reach this subscriber."""
        self._users.setdefault(subscriber.user_id, set()).add(subscriber)

    def disconnect(self, subscriber: Subscriber) -> None:
        """Forget the subscriber. Does nothing when it is forgotten already."""
        for room_id in list(subscriber.states):
            self.leave(subscriber, room_id)
        subscribers = self._users.get(subscriber.user_id, set())
        subscribers.discard(subscriber)
        if not subscribers:
            self._users.pop(subscriber.user_id, None)

    def set_membership(self, subscriber: Subscriber, room_ids: Iterable[int]) -> None:
        """Set the rooms of the subscriber's user as they were read. Subscribers that know the same share them."""
        membership = Membership(room_ids)
        for other in self._users.get(subscriber.user_id, ()):
            if other.membership is not None and other.membership.room_ids == membership.room_ids:
                membership = other.membership
                break
        subscriber.membership = membership

    def join(self, subscriber: Subscriber, room_id: int, seq: int) -> None:
        """Make the room live for the subscriber: it gets what comes after `seq`, or after what was sent here last."""
        channel = self._channels.get(room_id)
        if channel is None:
            channel = self._channels[room_id] = _RoomChannel(seq)
        self._flush_channel(channel)  # what waits in it is older
        (channel.v2 if subscriber.speaks_v2 else channel.plain).add(subscriber)
        subscriber.states[room_id] = RoomState.LIVE

    def leave(self, subscriber: Subscriber, room_id: int) -> None:
        """Make the room silent for the subscriber. A room without live subscribers is forgotten."""
        subscriber.states.pop(room_id, None)
        if channel := self._channels.get(room_id):
            channel.plain.discard(subscriber)
            channel.v2.discard(subscriber)
            self._forget_if_empty(room_id, channel)

    def last_sent_seq(self, room_id: int) -> int | None:
        """The last number sent in a room, or None when it has no live subscriber here."""
        channel = self._channels.get(room_id)
        return None if channel is None else channel.seq

    def opened_after(self, room_id: int, seq: int) -> bool:
        """Whether this process started following the room after `seq`, so that the events up to its start were never
        delivered here."""
        channel = self._channels.get(room_id)
        return channel is not None and channel.opened_at_seq > seq

    def positions(self) -> tuple[list[int], list[int]]:
        """The live rooms here, and the last number sent in each."""
        return list(self._channels), [channel.seq for channel in self._channels.values()]

    def users(self) -> list[int]:
        """The users with a connection here."""
        return list(self._users)

    def unaware_subscribers(self, user_id: int, room_id: int, joined_seq: int) -> list[Subscriber]:
        """The user's subscribers that were not told that the user is a member of the room since `joined_seq`."""
        return [each for each in self._users.get(user_id, ()) if each.lacks(room_id, joined_seq)]

    def subscribers(self) -> list[Subscriber]:
        """Every subscriber here."""
        return [subscriber for subscribers in self._users.values() for subscriber in subscribers]

    # --- what happens ---------------------------------------------------------------------------------

    def deliver(self, notification: Notification) -> None:
        """Take an event from anywhere. One without a seq was never stored and is sent on without counting."""
        room_id, seq, kind, frame, subjects = notification
        if kind == FrameType.READ_MARKER:
            return self._send_to_user(subjects[0].user_id, frame)
        channel = self._channels.get(room_id)
        if channel is None:
            if seq is None or not any(subject.user_id in self._users for subject in subjects):
                return
            channel = self._channels[room_id] = _RoomChannel(seq - 1)  # the user may have joined it elsewhere
        if seq is None:
            self._queue_frame(channel, kind, frame)
        elif seq == channel.seq + 1:
            self._send(channel, notification)
            while (early := channel.reorder_buffer.pop(channel.seq + 1, None)) is not None:
                self._send(channel, early)
            if not channel.reorder_buffer and channel.reorder_timer is not None:
                channel.reorder_timer.cancel()
                channel.reorder_timer = None
        elif seq > channel.seq and len(channel.reorder_buffer) < REORDER_BUFFER_EVENTS:
            channel.reorder_buffer[seq] = notification
            if channel.reorder_timer is None:
                channel.reorder_timer = self._later(REORDER_WAIT_S, room_id, channel)
        self._forget_if_empty(room_id, channel)

    def forget(self, room_id: int) -> list[Subscriber]:
        """Drop a room whose numbers went back. Return the subscribers that were live in it and must begin anew."""
        channel = self._channels.get(room_id)
        if channel is None:
            return []
        subscribers = [*channel.plain, *channel.v2]
        self._forget(room_id)
        for subscriber in subscribers:
            subscriber.states.pop(room_id, None)
        return subscribers

    def _forget(self, room_id: int) -> None:
        channel = self._channels.pop(room_id)
        self._flush_channel(channel)
        if channel.reorder_timer is not None:
            channel.reorder_timer.cancel()

    def _forget_if_empty(self, room_id: int, channel: _RoomChannel) -> None:
        if channel.is_empty and self._channels.get(room_id) is channel:
            self._forget(room_id)

    def _later(self, delay_s: float, room_id: int, channel: _RoomChannel) -> asyncio.TimerHandle:
        return asyncio.get_running_loop().call_later(delay_s, self._report_gap, room_id, channel)

    def _report_gap(self, room_id: int, channel: _RoomChannel) -> None:
        channel.reorder_timer = None
        channel.reorder_buffer = {seq: event for seq, event in channel.reorder_buffer.items() if seq > channel.seq}
        if self._channels.get(room_id) is channel and channel.reorder_buffer:
            channel.reorder_timer = self._later(REORDER_WAIT_S * 10, room_id, channel)
            self.on_gap(room_id)

    def _send(self, channel: _RoomChannel, notification: Notification) -> None:
        """Send the room's next event. A join is the first that a new member's connections get, a leave the last."""
        room_id, _, kind, frame, subjects = notification
        channel.seq += 1
        for user_id, is_member in subjects:
            if is_member:
                self._on_joined(user_id, room_id, channel)
        self._queue_frame(channel, kind, frame)
        for user_id, is_member in subjects:
            if not is_member:
                self._flush_channel(channel)
                self._on_left(user_id, room_id, channel)

    def _on_joined(self, user_id: int, room_id: int, channel: _RoomChannel) -> None:
        subscribers = self._users.get(user_id, ())
        for subscriber in subscribers:
            if subscriber.states.get(room_id) is RoomState.LEFT_WHILE_RESUMING:
                subscriber.states[room_id] = RoomState.RESUMING
            if subscriber.membership is None:
                subscriber.membership_changed = True
            elif subscriber.lacks(room_id, channel.seq):
                self.join(subscriber, room_id, channel.seq)
        for membership in _memberships(subscribers):
            membership.joined(room_id, channel.seq)

    def _on_left(self, user_id: int, room_id: int, channel: _RoomChannel) -> None:
        subscribers = self._users.get(user_id, ())
        for subscriber in subscribers:
            if subscriber.membership is None:
                subscriber.membership_changed = True
            if subscriber.is_live(room_id):
                del subscriber.states[room_id]
                channel.plain.discard(subscriber)
                channel.v2.discard(subscriber)
            elif room_id in subscriber.states:
                subscriber.states[room_id] = RoomState.LEFT_WHILE_RESUMING
        for membership in _memberships(subscribers):
            membership.left(room_id, channel.seq)

    def _send_to_user(self, user_id: int, frame: bytes) -> None:
        data = text_frame(frame)
        for subscriber in self._users.get(user_id, ()):
            if subscriber.speaks_v2:
                subscriber.write(data)

    def _queue_frame(self, channel: _RoomChannel, kind: int, frame: bytes) -> None:
        if not channel.outgoing_v2:
            if not self._dirty:
                asyncio.get_running_loop().call_soon(self._flush)
            self._dirty.append(channel)
        data = text_frame(frame)
        channel.outgoing_v2.append(data)
        if kind == FrameType.MESSAGE:
            channel.outgoing_plain.append(data)

    def _flush(self) -> None:
        channels, self._dirty = self._dirty, []
        for channel in channels:
            self._flush_channel(channel)

    def _flush_channel(self, channel: _RoomChannel) -> None:
        for subscribers, frames in ((channel.v2, channel.outgoing_v2), (channel.plain, channel.outgoing_plain)):
            if frames and subscribers:
                data = frames[0] if len(frames) == 1 else b"".join(frames)
                for subscriber in subscribers:
                    subscriber.write(data)
        channel.outgoing_v2.clear()
        channel.outgoing_plain.clear()


def _memberships(subscribers: Iterable[Subscriber]) -> set[Membership]:
    """The distinct memberships of subscribers, each of which may be shared by several."""
    return {each.membership for each in subscribers if each.membership is not None}
