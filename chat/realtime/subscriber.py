"""A connection as the hub sees it: something to write to and never to wait for, and what each room is to it.

A connection of chat.v2 has a state for each room that it has resumed. One of the original's language is live in all
rooms of its user, so it has no states: it is a listener of the user's membership, and the rooms know that alone.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable
from enum import Enum

from chat.protocol.close_codes import CloseCode

log = logging.getLogger(__name__)


class RoomState(Enum):
    """What a room is to a connection. A room without a state is not heard."""

    LIVE = "its events are written as they come"
    RESUMING = "a resume is in progress, and only that resume may make the room live"
    LEFT_WHILE_RESUMING = "as RESUMING, and the user has left the room meanwhile"


class Membership:
    """The rooms of a user, as their connections were told. Connections that were told the same share one.

    room_ids: the rooms
    left_at_seq: by room, the seq of the last leave that was heard: an earlier join that comes late does not count
    listeners: those of the connections that are live in all of the rooms
    """

    __slots__ = ("left_at_seq", "listeners", "room_ids")

    def __init__(self, room_ids: Iterable[int]) -> None:
        self.room_ids = set(room_ids)
        self.left_at_seq: dict[int, int] = {}
        self.listeners: list[Subscriber] = []

    def lacks(self, room_id: int, joined_seq: int) -> bool:
        """Whether the user became a member with event `joined_seq`, and the connections were never told."""
        return room_id not in self.room_ids and joined_seq > self.left_at_seq.get(room_id, 0)

    def left(self, room_id: int, seq: int) -> None:
        """Take note of a leave that was heard."""
        self.room_ids.discard(room_id)
        self.left_at_seq[room_id] = seq


class Subscriber:
    """One connection of the hub.

    speaks_v2: it gets every frame; otherwise only messages, as the original's clients expect
    states: by room, what the room is to this connection of chat.v2
    membership: the rooms of its user; None until they have been read for the first time
    membership_changed: whether the user joined or left a room before that, so that they have to be read again
    close: ends the connection in good order, without waiting
    """

    __slots__ = (
        "_buffer_limit_bytes",
        "_transport",
        "close",
        "membership",
        "membership_changed",
        "speaks_v2",
        "states",
        "user_id",
    )

    def __init__(
        self,
        user_id: int,
        transport: asyncio.WriteTransport,
        close: Callable[[CloseCode], None],
        *,
        speaks_v2: bool,
        buffer_limit_bytes: int,
    ) -> None:
        self.user_id, self.speaks_v2, self.close = user_id, speaks_v2, close
        self.states: dict[int, RoomState] = {}
        self.membership: Membership | None = None
        self.membership_changed = False
        self._transport, self._buffer_limit_bytes = transport, buffer_limit_bytes

    def is_live(self, room_id: int) -> bool:
        """Whether the room's events are written as they come."""
        if self.speaks_v2:
            return self.states.get(room_id) is RoomState.LIVE
        return self.membership is not None and room_id in self.membership.room_ids

    def lacks(self, room_id: int, joined_seq: int) -> bool:
        """Whether its user became a member with event `joined_seq`, and this connection was never told."""
        membership = self.membership
        return membership is not None and room_id not in self.states and membership.lacks(room_id, joined_seq)

    def write(self, frames: bytes) -> None:
        """Write finished websocket frames. A peer that has left more than the limit unread is disconnected."""
        transport = self._transport
        if transport.is_closing():
            return
        if transport.get_write_buffer_size() > self._buffer_limit_bytes:
            log.warning("user %d reads too slowly and is disconnected (%d)", self.user_id, CloseCode.TOO_SLOW)
            transport.abort()
        else:
            transport.write(frames)

    def buffered_bytes(self) -> int:
        """Bytes that the kernel has not taken yet."""
        return self._transport.get_write_buffer_size()
