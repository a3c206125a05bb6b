"""The connections of this process, and what each of them has been sent.

For each room with a live connection here: the last number sent, and the subscribers. All methods are plain functions:
between two ticks of the loop nothing is half done, and no lock is needed.

    the next number      → out, with one websocket header, in one write for each connection and tick
    an old number        → dropped: it has been sent
    a number too far     → waits 50 ms for the numbers before it, then `on_gap` has them read from PostgreSQL

So whatever delivers (notification, gap fill, poll, replay) may do it late, twice or in any order.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

from chat.protocol.frames import FrameType
from chat.protocol.notifications import Notification
from chat.realtime.subscriber import Membership, RoomState, Subscriber
from chat.realtime.websocket_frames import text_frame

REORDER_WAIT_S = 0.05  # two processes overtake one another in normal running; that is over sooner than this
REORDER_BUFFER_EVENTS = 1_000  # events that a room holds back while it waits for a gap; the rest is read again


class Follower(Protocol):
    """What follows a room beside its subscribers, from event to event."""

    def on_event(self, notification: Notification, /) -> None:
        """Take the room's next event."""

    def on_forgotten(self) -> None:
        """The room is forgotten, and no more events come."""


class _Outgoing:
    """The frames of this tick for a room, by the language that its subscribers speak."""

    __slots__ = ("plain", "v2")

    def __init__(self) -> None:
        self.plain: list[bytes] = []
        self.v2: list[bytes] = []


class _RoomChannel:
    """A room with live connections here.

    seq: the last number sent
    opened_at_seq: the number at which this process began to follow the room
    v2: the live subscribers that speak chat.v2
    plain: the memberships whose listeners are live here, which speak the original's language
    outgoing: the frames of this tick; None until the first
    reorder_buffer: by seq, the events that wait for a gap; None while there is none

    A connection may open ten thousand of these in one tick, so what few of them need is not made for all.
    """

    __slots__ = ("follower", "opened_at_seq", "outgoing", "plain", "reorder_buffer", "reorder_timer", "seq", "v2")

    def __init__(self, seq: int) -> None:
        self.opened_at_seq = self.seq = seq
        self.plain: set[Membership] = set()
        self.v2: set[Subscriber] = set()
        self.outgoing: _Outgoing | None = None
        self.reorder_buffer: dict[int, Notification] | None = None
        self.reorder_timer: asyncio.TimerHandle | None = None
        self.follower: Follower | None = None

    @property
    def is_empty(self) -> bool:
        return not self.plain and not self.v2


class Hub:
    """All connections and live rooms of this process.

    on_gap: called with a room's id when numbers are missing that do not come by themselves; the relay sets it
    on_opened: called with a room's id when this process begins to follow it; the relay sets it
    """

    def __init__(self) -> None:
        self.on_gap: Callable[[int], object] = lambda room_id: None
        self.on_opened: Callable[[int], object] = lambda room_id: None
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
        membership = subscriber.membership
        if membership is not None and subscriber in membership.listeners:
            membership.listeners.remove(subscriber)
            if not membership.listeners:
                self._stop_listening(membership)
        subscribers = self._users.get(subscriber.user_id, set())
        subscribers.discard(subscriber)
        if not subscribers:
            self._users.pop(subscriber.user_id, None)

    def set_membership(self, subscriber: Subscriber, last_seqs: Mapping[int, int]) -> None:
        """Set the rooms of the subscriber's user as they were read, with their last numbers. Subscribers that know the
        same share them. One that does not speak chat.v2 is live in all of them from now on."""
        known = _memberships(self._users.get(subscriber.user_id, ()))
        membership = next((each for each in known if each.room_ids == last_seqs.keys()), None) or Membership(last_seqs)
        subscriber.membership = membership
        if not subscriber.speaks_v2:
            self._flush()  # what waits is older
            if not membership.listeners:
                for room_id, seq in last_seqs.items():
                    self._open(room_id, seq).plain.add(membership)
            membership.listeners.append(subscriber)

    def join(self, subscriber: Subscriber, room_id: int, seq: int) -> None:
        """Make the room live for a subscriber that speaks chat.v2: it gets what comes after `seq`, or after what was
        sent here last."""
        channel = self._open(room_id, seq)
        self._flush_channel(channel)  # what waits in it is older
        channel.v2.add(subscriber)
        subscriber.states[room_id] = RoomState.LIVE

    def leave(self, subscriber: Subscriber, room_id: int) -> None:
        """Make the room silent for the subscriber. A room without live subscribers is forgotten."""
        subscriber.states.pop(room_id, None)
        if channel := self._channels.get(room_id):
            channel.v2.discard(subscriber)
            self._forget_if_empty(room_id, channel)

    def follow(self, room_id: int, follower: Follower | None) -> None:
        """Give a live room's events to a follower, too, in the place of the one before; None: to nobody."""
        if channel := self._channels.get(room_id):
            channel.follower = follower

    def _open(self, room_id: int, seq: int) -> _RoomChannel:
        channel = self._channels.get(room_id)
        if channel is None:
            channel = self._channels[room_id] = _RoomChannel(seq)
            self.on_opened(room_id)
        return channel

    def _stop_listening(self, membership: Membership) -> None:
        for room_id in membership.room_ids:
            if channel := self._channels.get(room_id):
                channel.plain.discard(membership)
                self._forget_if_empty(room_id, channel)

    def last_sent_seq(self, room_id: int) -> int | None:
        """The last number sent in a room, or None when it has no live subscriber here."""
        channel = self._channels.get(room_id)
        return None if channel is None else channel.seq

    def behind(self, last_seqs: Mapping[int, int]) -> list[int]:
        """Those of the rooms in which the last number sent is lower than the given one."""
        channels = self._channels
        return [room_id for room_id, seq in last_seqs.items() if room_id in channels and channels[room_id].seq < seq]

    def opened_after(self, last_seqs: Mapping[int, int]) -> bool:
        """Whether this process started following one of the rooms after the given number, so that the events up to its
        start were never delivered here."""
        channels = self._channels
        return any(room_id in channels and channels[room_id].opened_at_seq > seq for room_id, seq in last_seqs.items())

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
            channel = self._open(room_id, seq - 1)  # the user may have joined it elsewhere
        if seq is None:
            self._queue_frame(channel, kind, frame)
        elif seq == channel.seq + 1:
            self._send(channel, notification)
            if channel.reorder_buffer is not None:
                self._send_early(channel, channel.reorder_buffer)
        elif seq > channel.seq:
            self._hold_back(channel, notification, seq)
        self._forget_if_empty(room_id, channel)

    def forget(self, room_id: int) -> list[Subscriber]:
        """Drop a room whose numbers went back. Return the subscribers that were live in it and must begin anew."""
        channel = self._channels.get(room_id)
        if channel is None:
            return []
        subscribers = [*channel.v2, *(each for membership in channel.plain for each in membership.listeners)]
        self._forget(room_id)
        for subscriber in subscribers:
            subscriber.states.pop(room_id, None)
        return subscribers

    def _forget(self, room_id: int) -> None:
        channel = self._channels.pop(room_id)
        self._flush_channel(channel)
        if channel.reorder_timer is not None:
            channel.reorder_timer.cancel()
        if channel.follower is not None:
            channel.follower.on_forgotten()

    def _forget_if_empty(self, room_id: int, channel: _RoomChannel) -> None:
        if channel.is_empty and self._channels.get(room_id) is channel:
            self._forget(room_id)

    def _hold_back(self, channel: _RoomChannel, notification: Notification, seq: int) -> None:
        if channel.reorder_buffer is None:
            channel.reorder_buffer = {}
        if len(channel.reorder_buffer) < REORDER_BUFFER_EVENTS:
            channel.reorder_buffer[seq] = notification
            if channel.reorder_timer is None:
                channel.reorder_timer = self._later(REORDER_WAIT_S, notification.room_id, channel)

    def _send_early(self, channel: _RoomChannel, reorder_buffer: dict[int, Notification]) -> None:
        """Send what has waited for the event that was sent just now."""
        while (early := reorder_buffer.pop(channel.seq + 1, None)) is not None:
            self._send(channel, early)
        if not reorder_buffer:
            channel.reorder_buffer = None
            if channel.reorder_timer is not None:
                channel.reorder_timer.cancel()
                channel.reorder_timer = None

    def _later(self, delay_s: float, room_id: int, channel: _RoomChannel) -> asyncio.TimerHandle:
        return asyncio.get_running_loop().call_later(delay_s, self._report_gap, room_id, channel)

    def _report_gap(self, room_id: int, channel: _RoomChannel) -> None:
        channel.reorder_timer = None
        waiting = {seq: event for seq, event in (channel.reorder_buffer or {}).items() if seq > channel.seq}
        channel.reorder_buffer = waiting or None
        if waiting and self._channels.get(room_id) is channel:
            channel.reorder_timer = self._later(REORDER_WAIT_S * 10, room_id, channel)
            self.on_gap(room_id)

    def _send(self, channel: _RoomChannel, notification: Notification) -> None:
        """Send the room's next event. A join is the first that a new member's connections get, a leave the last."""
        room_id, _, kind, frame, subjects = notification
        channel.seq += 1
        if channel.follower is not None:
            channel.follower.on_event(notification)
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
            elif subscriber.speaks_v2 and subscriber.lacks(room_id, channel.seq):
                self.join(subscriber, room_id, channel.seq)
        for membership in _memberships(subscribers):
            if membership.lacks(room_id, channel.seq):
                membership.room_ids.add(room_id)
                if membership.listeners:
                    self._flush_channel(channel)
                    channel.plain.add(membership)

    def _on_left(self, user_id: int, room_id: int, channel: _RoomChannel) -> None:
        subscribers = self._users.get(user_id, ())
        for subscriber in subscribers:
            if subscriber.membership is None:
                subscriber.membership_changed = True
            if subscriber.is_live(room_id):
                subscriber.states.pop(room_id, None)
                channel.v2.discard(subscriber)
            elif room_id in subscriber.states:
                subscriber.states[room_id] = RoomState.LEFT_WHILE_RESUMING
        for membership in _memberships(subscribers):
            membership.left(room_id, channel.seq)
            channel.plain.discard(membership)

    def _send_to_user(self, user_id: int, frame: bytes) -> None:
        data = text_frame(frame)
        for subscriber in self._users.get(user_id, ()):
            if subscriber.speaks_v2:
                subscriber.write(data)

    def _queue_frame(self, channel: _RoomChannel, kind: int, frame: bytes) -> None:
        outgoing = channel.outgoing
        if outgoing is None:
            outgoing = channel.outgoing = _Outgoing()
        if not outgoing.v2:
            if not self._dirty:
                asyncio.get_running_loop().call_soon(self._flush)
            self._dirty.append(channel)
        data = text_frame(frame)
        outgoing.v2.append(data)
        if kind == FrameType.MESSAGE:
            outgoing.plain.append(data)

    def _flush(self) -> None:
        channels, self._dirty = self._dirty, []
        for channel in channels:
            self._flush_channel(channel)

    def _flush_channel(self, channel: _RoomChannel) -> None:
        outgoing = channel.outgoing
        if outgoing is None or not outgoing.v2:
            return
        if channel.v2:
            data = _joined(outgoing.v2)
            for subscriber in channel.v2:
                subscriber.write(data)
        if outgoing.plain and channel.plain:
            data = _joined(outgoing.plain)
            for membership in channel.plain:
                for subscriber in membership.listeners:
                    subscriber.write(data)
        outgoing.v2.clear()
        outgoing.plain.clear()


def _joined(frames: list[bytes]) -> bytes:
    return frames[0] if len(frames) == 1 else b"".join(frames)


def _memberships(subscribers: Iterable[Subscriber]) -> set[Membership]:
    """The distinct memberships of subscribers, each of which may be shared by several."""
    return {each.membership for each in subscribers if each.membership is not None}
