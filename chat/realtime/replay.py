"""Going live: from what a client has to what the hub sends, without a gap, a repeat, or a holding buffer.

page after the cursor ─ write it ─ wait for the peer ─ has the hub sent no more? ─ yes: join, in this tick
        ↑                                                      │
        └──────────────────────── no ──────────────────────────┘
"""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable

from aiohttp import WSMsgType, web

from chat.errors import ChatError, NotFound, RateLimited
from chat.eventlog.event import Event, event_frame
from chat.http import app_keys as keys
from chat.protocol.codec import encode
from chat.protocol.frames import Resume, Verdict
from chat.realtime.subscriber import Socket

log = logging.getLogger(__name__)

PAGE = 100  # events read at a time
CHUNK = 32 * 1024  # bytes of a replay that are written before waiting for the peer
WAITING = 1024  # resumes of a socket that may wait for their turn


class Replay:
    """The resumes of one socket, carried out one after the other.

    `send` writes frames without waiting, `send_and_wait` one frame, and returns when the peer keeps up; `refuse`
    tells an error; `ended` is called when no resume waits any more.
    """

    def __init__(
        self,
        app: web.Application,
        user_id: int,
        socket: Socket,
        send: Callable[..., None],
        send_and_wait: Callable[[bytes, WSMsgType], Awaitable[None]],
        refuse: Callable[[ChatError, str | None, int | None], None],
        ended: Callable[[], None] = lambda: None,
    ) -> None:
        self._history, self._hub, self._tokens = app[keys.HISTORY], app[keys.HUB], app[keys.TOKENS]
        self._most = app[keys.SETTINGS].resume_events
        self._user_id, self._socket = user_id, socket
        self._send, self._send_and_wait, self._refuse, self._ended = send, send_and_wait, refuse, ended
        self._waiting: deque[Resume] = deque()
        self._task: asyncio.Task[None] | None = None

    def add(self, frame: Resume) -> None:
        """Puts a resume into the queue; the room is silent from now on. Raises `RateLimited`."""
        if len(self._waiting) >= WAITING:
            raise RateLimited(f"at most {WAITING} rooms can wait to be resumed", retry_ms=1000)
        self._waiting.append(frame)
        self._silence(frame.chatroomId)
        if self._task is None:
            self._task = asyncio.create_task(self._run())

    def close(self) -> None:
        """Ends whatever is under way."""
        if self._task is not None:
            self._task.cancel()

    async def _run(self) -> None:
        while self._waiting:
            frame = self._waiting.popleft()
            try:
                await self._resume(frame)
            except ChatError as error:
                self._refuse(error, None, frame.chatroomId)
            except ConnectionError:
                break  # the peer is gone; the session notices by itself
            except Exception:
                log.exception("a resume failed")
                self._refuse(ChatError("something went wrong in the server"), None, frame.chatroomId)
            finally:
                self._socket.resuming.pop(frame.chatroomId, None)
        self._task = None
        self._ended()

    async def _resume(self, frame: Resume) -> None:
        room_id, cursor = frame.chatroomId, frame.after
        self._silence(room_id)
        last, page = await self._page(room_id, cursor)
        if cursor > last or frame.epoch not in (None, self._tokens.epoch):
            return self._go_live_without(room_id, 1, last)
        if last - cursor > self._most:
            return self._go_live_without(room_id, cursor + 1, last)
        while True:
            frames = [event_frame(event) for event in page]
            if self._hub.sent(room_id) is not None:  # it may not have heard of the newest ones
                for event, data in zip(page, frames, strict=True):
                    self._hub.deliver(room_id, event.seq, event.kind, event.user_id, data)
            await self._replay(frames)
            cursor = page[-1].seq if page else cursor
            sent = self._hub.sent(room_id)
            if sent == cursor or (sent is None and cursor >= last):
                return self._go_live(room_id, Verdict(room_id, frame.after + 1, cursor, True))
            if sent is not None and sent < cursor:
                await asyncio.shield(self._hub.on_gap(room_id))  # others wait for it, too
            elif cursor - frame.after > self._most:  # others write faster than this socket gets it
                return self._go_live_without(room_id, cursor + 1, last)
            last, page = await self._page(room_id, cursor)

    def _silence(self, room_id: int) -> None:
        self._hub.leave(self._socket, room_id)
        self._socket.resuming[room_id] = False

    async def _page(self, room_id: int, after: int) -> tuple[int, list[Event]]:
        return await self._history.events(self._user_id, room_id, after=after, most=PAGE)

    async def _replay(self, frames: list[bytes]) -> None:
        """Writes frames and waits for the peer to take them: the one place that waits for a peer."""
        while frames:
            size, count = 0, 0
            while count < len(frames) and size < CHUNK:
                size += len(frames[count])
                count += 1
            self._send(*frames[: count - 1])
            await self._send_and_wait(frames[count - 1], WSMsgType.TEXT)
            frames = frames[count:]

    def _go_live_without(self, room_id: int, first: int, last: int) -> None:
        """The client has to page what comes from `first` on."""
        sent = self._hub.sent(room_id)
        self._go_live(room_id, Verdict(room_id, first, last if sent is None else sent, False))

    def _go_live(self, room_id: int, verdict: Verdict) -> None:
        if self._socket.resuming[room_id]:
            raise NotFound("you have left this room")
        self._hub.join(self._socket, room_id, verdict.to)
        self._send(encode(verdict))
