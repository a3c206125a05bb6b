"""Going live: from what a client has to what the hub sends, without a gap, a repeat, or a holding buffer.

page after the cursor ─ write it ─ wait for the peer ─ has the hub sent no more? ─ yes: join, in this tick
        ↑                                                      │
        └──────────────────────── no ──────────────────────────┘
"""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Protocol

from chat.auth.tokens import Tokens
from chat.errors import ChatError, NotFound, RateLimited
from chat.eventlog.event import Event, event_notification
from chat.eventlog.reader import EventReader
from chat.protocol.codec import encode
from chat.protocol.frames import Resume, Resumed
from chat.realtime.hub import Hub
from chat.realtime.subscriber import RoomState, Subscriber

log = logging.getLogger(__name__)

PAGE_EVENTS = 100  # events that are read at a time
CHUNK_BYTES = 32 * 1024  # of a replay that are written before waiting for the peer
MAX_QUEUED_RESUMES = 1024  # of a connection


class Outlet(Protocol):
    """Where a replay writes: the connection."""

    def send(self, *payloads: bytes) -> None:
        """Send payloads as text frames, without waiting."""

    def send_and_drain(self, payload: bytes, /) -> Awaitable[None]:
        """Send one, and return when the peer keeps up. Raises ConnectionError when the peer is gone."""

    def send_error(self, error: ChatError, *, request_id: str | None = None, room_id: int | None = None) -> None:
        """Send an error frame."""


class Replay:
    """The resumes of one connection, carried out one after the other.

    `fill_gap` has the relay read what the hub lacks in a room; `on_idle` is called when no resume waits any more.
    """

    def __init__(
        self,
        *,
        reader: EventReader,
        hub: Hub,
        tokens: Tokens,
        fill_gap: Callable[[int], Awaitable[None]],
        subscriber: Subscriber,
        outlet: Outlet,
        max_events: int,
        on_idle: Callable[[], None],
    ) -> None:
        self._reader, self._hub, self._tokens, self._fill_gap = reader, hub, tokens, fill_gap
        self._subscriber, self._outlet, self._max_events, self._on_idle = subscriber, outlet, max_events, on_idle
        self._queue: deque[Resume] = deque()
        self._task: asyncio.Task[None] | None = None

    def add(self, frame: Resume) -> None:
        """Queue a resume. The room is silent from now on. Raises `RateLimited`."""
        if len(self._queue) >= MAX_QUEUED_RESUMES:
            raise RateLimited(f"At most {MAX_QUEUED_RESUMES} resumes can wait. Send this one again.", retry_ms=1000)
        self._queue.append(frame)
        self._mute(frame.chatroom_id)
        if self._task is None:
            self._task = asyncio.create_task(self._run())

    def close(self) -> None:
        """Stop what is under way."""
        if self._task is not None:
            self._task.cancel()

    async def _run(self) -> None:
        while self._queue:
            frame = self._queue.popleft()
            room_id = frame.chatroom_id
            try:
                await self._resume(frame)
            except ChatError as error:
                self._outlet.send_error(error, room_id=room_id)
            except ConnectionError:
                break  # the peer is gone, which the connection notices by itself
            except Exception:
                log.exception("a resume failed")
                internal = ChatError("Something went wrong in the server. It has been logged.")
                self._outlet.send_error(internal, room_id=room_id)
            finally:
                if not self._subscriber.is_live(room_id):
                    self._subscriber.states.pop(room_id, None)
        self._task = None
        self._on_idle()

    async def _resume(self, frame: Resume) -> None:
        room_id, cursor = frame.chatroom_id, frame.after
        self._mute(room_id)
        last, page = await self._page(room_id, cursor)
        if cursor > last or frame.epoch not in (None, self._tokens.epoch):
            return self._go_live_incomplete(room_id, 1, last)
        if last - cursor > self._max_events:
            return self._go_live_incomplete(room_id, cursor + 1, last)
        while True:
            notifications = [event_notification(event) for event in page]
            if self._hub.last_sent_seq(room_id) is not None:  # it may not have heard of the newest ones
                for notification in notifications:
                    self._hub.deliver(notification)
            await self._write([notification.frame for notification in notifications])
            cursor = page[-1].seq if page else cursor
            sent = self._hub.last_sent_seq(room_id)
            if sent == cursor or (sent is None and cursor >= last):
                return self._go_live(room_id, Resumed(room_id, frame.after + 1, cursor, True))
            if sent is not None and sent < cursor:
                await asyncio.shield(self._fill_gap(room_id))  # others wait for it, too
            elif cursor - frame.after > self._max_events:  # others write faster than this peer reads
                return self._go_live_incomplete(room_id, cursor + 1, last)
            last, page = await self._page(room_id, cursor)

    def _mute(self, room_id: int) -> None:
        self._hub.leave(self._subscriber, room_id)
        self._subscriber.states[room_id] = RoomState.RESUMING

    async def _page(self, room_id: int, after: int) -> tuple[int, list[Event]]:
        return await self._reader.events(self._subscriber.user_id, room_id, after=after, limit=PAGE_EVENTS)

    async def _write(self, frames: list[bytes]) -> None:
        """Write frames and wait for the peer to take them: the one place that waits for a peer."""
        while frames:
            size, count = 0, 0
            while count < len(frames) and size < CHUNK_BYTES:
                size += len(frames[count])
                count += 1
            self._outlet.send(*frames[: count - 1])
            await self._outlet.send_and_drain(frames[count - 1])
            frames = frames[count:]

    def _go_live_incomplete(self, room_id: int, first: int, last: int) -> None:
        """The client has to read the events from `first` on itself."""
        sent = self._hub.last_sent_seq(room_id)
        self._go_live(room_id, Resumed(room_id, first, last if sent is None else sent, False))

    def _go_live(self, room_id: int, resumed: Resumed) -> None:
        if self._subscriber.states.get(room_id) is RoomState.LEFT_WHILE_RESUMING:
            raise NotFound("You have left this room.")
        self._hub.join(self._subscriber, room_id, resumed.to)
        self._outlet.send(encode(resumed))
