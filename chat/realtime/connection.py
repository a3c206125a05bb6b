"""One websocket's life, from the hello to the close. frame_handlers.py says what each frame does.

Frames are answered in the order in which they came: each write puts a future into `_pending_replies`, and what is done
at its head goes out, joined, in one write. A connection with 256 unanswered writes is not read until some are answered.
"""

import asyncio
import logging
import random
import secrets
import socket
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from chat.auth.tokens import Identity, Tokens
from chat.config import Settings
from chat.db.errors import DatabaseError
from chat.db.pool import Database
from chat.domain.rooms import JoinedRooms, RoomListLoader
from chat.domain.slash_commands import SlashCommands
from chat.errors import BadRequest, ChatError, RateLimited
from chat.eventlog.notifier import Notifier
from chat.eventlog.reader import EventReader
from chat.eventlog.writer import EventWriter
from chat.protocol.close_codes import CloseCode
from chat.protocol.codec import FinishedJson, encode, salvage_ids
from chat.protocol.frames import (
    MAX_FRAME_BYTES,
    MAX_IN_FLIGHT_WRITES,
    HelloFrame,
    HelloLimits,
    HelloUser,
    Resume,
    decode,
    error_frame,
)
from chat.protocol.text import MAX_MESSAGE_CHARS
from chat.realtime.frame_handlers import HANDLERS, Reply
from chat.realtime.hub import Hub
from chat.realtime.rate_limit import TokenBucket
from chat.realtime.relay import Relay
from chat.realtime.replay import Replay
from chat.realtime.subscriber import Subscriber
from chat.realtime.websocket_frames import text_frame
from chat.realtime.websocket_protocol import WebsocketProtocol

log = logging.getLogger(__name__)

BURST_SECONDS = 5  # seconds' worth of frames that may come at once
RESUME_BURST = 1000  # resumes that may come at once: a client that comes back has one for each of its rooms
MAX_RATE_VIOLATIONS = 100  # frames above the rate that are answered; then the connection is closed
MAX_LARGE_HELLOS = 8  # hellos larger than that buffer which wait for their peers at the same time
LARGE_HELLO_TURN_S = 2.0  # a hello whose peer reads so slowly no longer keeps others waiting
KERNEL_SEND_BUFFER_BYTES = 64 * 1024  # left to itself, the kernel hides megabytes from the limit
NO_CLOSE_FRAME = 1006  # what a client's library says of a connection that ended without one
SHUTDOWN_JITTER_S = 1.0  # connections close spread over this time at a stop, so that they do not come back all at once


@dataclass(frozen=True, slots=True)
class Backend:
    """What connections work with: the same for all of this process.

    connections: those that are open
    large_hellos: the turns of hellos that are larger than what the kernel takes at once
    """

    settings: Settings
    db: Database
    tokens: Tokens
    notifier: Notifier
    writer: EventWriter
    reader: EventReader
    room_lists: RoomListLoader
    slash_commands: SlashCommands
    hub: Hub
    relay: Relay
    connections: "set[ClientConnection]" = field(default_factory=set)
    large_hellos: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(MAX_LARGE_HELLOS))


class ClientConnection(WebsocketProtocol):
    """One client. `connection_made` registers it; then `open` has to be called, and until then nothing is read."""

    __slots__ = (  # ten thousand of these may live in a process: a __dict__ each would cost a third of a KiB
        "_command_lock",
        "_ended",
        "_expiry",
        "_frame_bucket",
        "_is_open",
        "_pending_replies",
        "_replay",
        "_resume_bucket",
        "backend",
        "id",
        "identity",
        "speaks_v2",
        "subscriber",
    )

    subscriber: Subscriber

    def __init__(self, backend: Backend, identity: Identity, *, speaks_v2: bool) -> None:
        super().__init__(MAX_FRAME_BYTES)
        loop, rate = asyncio.get_running_loop(), backend.settings.rate_limit_per_s
        now = loop.time()
        self.backend, self.identity, self.speaks_v2 = backend, identity, speaks_v2
        self.id = secrets.token_urlsafe(9)
        self._frame_bucket = TokenBucket(rate, rate * BURST_SECONDS, now)
        self._resume_bucket: TokenBucket | None = None  # from the first resume on
        self._is_open = False
        self._command_lock: asyncio.Lock | None = None  # from the first command on
        # A list, though it is read from its head: an empty deque takes 0.7 KiB.
        self._pending_replies: list[tuple[asyncio.Future[Any], Reply]] = []
        self._replay: Replay | None = None  # while a resume is in progress: very many connections have none
        self._ended: asyncio.Future[None] | None = None  # while it is waited for

    def __str__(self) -> str:
        return f"user {self.identity.user_id}"

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, KERNEL_SEND_BUFFER_BYTES)
        self.subscriber = Subscriber(
            self.identity.user_id,
            self.transport,
            self.close,
            speaks_v2=self.speaks_v2,
            buffer_limit_bytes=self.backend.settings.send_buffer_limit_bytes,
        )
        lasts_s = self.identity.expires_at - time.time()
        self._expiry = asyncio.get_running_loop().call_later(lasts_s, self.close, CloseCode.SESSION_OVER)
        self.backend.connections.add(self)
        self.backend.hub.connect(self.subscriber)
        log.debug("%s has connected (%s)", self, "chat.v2" if self.speaks_v2 else "plain")

    async def open(self) -> None:
        """Send the hello, or make the rooms live. Then read what comes."""
        try:
            await self._subscribe_initial()
        except ChatError as error:
            outage = not isinstance(error, DatabaseError) or error.is_outage
            self.close(CloseCode.SERVICE_RESTART if outage else CloseCode.INTERNAL_ERROR)
        except Exception:
            log.exception("the connection of %s failed", self)
            self.close(CloseCode.INTERNAL_ERROR)
        finally:
            self._is_open = True
            self.read_on()

    async def stop(self) -> None:
        """Close because the server stops, at a random moment within `SHUTDOWN_JITTER_S`. Return when it has ended."""
        await asyncio.sleep(random.uniform(0, SHUTDOWN_JITTER_S))
        self.close(CloseCode.SERVICE_RESTART)
        if self in self.backend.connections:
            self._ended = asyncio.get_running_loop().create_future()
            await self._ended

    def on_closing(self) -> None:
        self._expiry.cancel()
        self.backend.hub.disconnect(self.subscriber)
        self.cancel_replay()

    def on_closed(self) -> None:
        self.on_closing()
        self.backend.connections.discard(self)
        for future, _ in self._pending_replies:
            future.remove_done_callback(self._flush_replies)
            future.add_done_callback(_log_fault)
        self.subscriber.close = _is_closed  # else both would wait for the garbage collector
        if self._ended is not None and not self._ended.done():
            self._ended.set_result(None)
        log.info("%s has disconnected (%s)", self, self.close_code or NO_CLOSE_FRAME)

    @property
    def command_lock(self) -> asyncio.Lock:
        """Held by one command at a time, so that the first of two equal ones is the original."""
        if self._command_lock is None:
            self._command_lock = asyncio.Lock()
        return self._command_lock

    @property
    def resume_bucket(self) -> TokenBucket:
        """The tokens for resumes."""
        if self._resume_bucket is None:
            rate, now = self.backend.settings.rate_limit_per_s, asyncio.get_running_loop().time()
            self._resume_bucket = TokenBucket(rate, RESUME_BURST, now)
        return self._resume_bucket

    # --- the beginning --------------------------------------------------------------------------------

    async def _subscribe_initial(self) -> None:
        """Send the hello; or for the original's clients, make all their rooms live at once.

        A large hello has a turn until its peer has read it. Otherwise hundreds of connections that come back at once
        would have a megabyte each in the memory of the server.
        """
        rooms = await self._load_rooms()
        if not self.speaks_v2 or len(rooms.hello_rooms) <= KERNEL_SEND_BUFFER_BYTES:
            if self._set_membership(rooms) and self.speaks_v2:
                self.send(self._hello(rooms))
            return
        turns = self.backend.large_hellos
        waits = turns.locked()
        if waits:
            del rooms  # a connection that waits holds nothing, and reads anew what may have changed
        async with turns:
            if waits:
                rooms = await self._load_rooms()
            if self._set_membership(rooms):
                with suppress(ConnectionError, TimeoutError):
                    await asyncio.wait_for(self.send_and_drain(self._hello(rooms)), LARGE_HELLO_TURN_S)

    def _set_membership(self, rooms: JoinedRooms) -> bool:
        """Tell the hub the rooms of the user, unless the connection is closing."""
        if self.is_closing:
            return False
        self.backend.hub.set_membership(self.subscriber, rooms.last_seqs)
        return True

    async def _load_rooms(self) -> JoinedRooms:
        """The rooms of the user, in a state from which the hub can go on."""
        hub, subscriber = self.backend.hub, self.subscriber
        while True:
            subscriber.membership_changed = False
            rooms = await self.backend.room_lists.load(self.identity.user_id)
            for room_id in () if self.speaks_v2 else hub.behind(rooms.last_seqs):  # else it would get those again
                await asyncio.shield(self.backend.relay.fill_gap(room_id))
            if not subscriber.membership_changed and not hub.opened_after(rooms.last_seqs):
                return rooms  # else the user joined or left a room while it was read, or may have

    def _hello(self, rooms: JoinedRooms) -> bytes:
        identity, settings = self.identity, self.backend.settings
        hello = HelloFrame(
            user=HelloUser(identity.user_id, identity.username, identity.email),
            connection=self.id,
            epoch=self.backend.tokens.epoch,
            rooms=FinishedJson(rooms.hello_rooms),
            limits=HelloLimits(
                MAX_FRAME_BYTES,
                MAX_MESSAGE_CHARS,
                settings.rate_limit_per_s,
                MAX_IN_FLIGHT_WRITES,
                settings.resume_max_events,
            ),
        )
        return encode(hello)

    # --- what comes in --------------------------------------------------------------------------------

    def is_ready(self) -> bool:
        """Whether the hello has been sent, and not too many writes are unanswered."""
        return self._is_open and len(self._pending_replies) < MAX_IN_FLIGHT_WRITES

    def on_text(self, data: bytes) -> None:
        """Handle one frame. Whatever is wrong with it is answered, and the connection stays."""
        try:
            data.decode()
        except UnicodeDecodeError:
            return self.close(CloseCode.INVALID_DATA)
        try:
            self._handle_frame(data)
        except Exception:
            log.exception("the connection of %s failed", self)
            self.close(CloseCode.INTERNAL_ERROR)

    def _handle_frame(self, data: bytes) -> None:
        try:
            try:
                frame = decode(data)
            except BadRequest:
                self._check_rate(self._frame_bucket)  # a malformed frame counts as well
                raise
            handler = HANDLERS[type(frame)]
            self._check_rate(self.resume_bucket if isinstance(frame, Resume) else self._frame_bucket)
            if (future := handler.start(self, frame)) is not None:
                self._pending_replies.append((future, Reply(frame, handler.acknowledge)))
                future.add_done_callback(self._flush_replies)
        except ChatError as error:
            request_id, room_id = salvage_ids(data)
            self.send_error(error, request_id=request_id, room_id=room_id)

    def resume(self, frame: Resume) -> None:
        """Queue a resume. Raises `RateLimited`."""
        if self._replay is None:
            self._replay = Replay(
                reader=self.backend.reader,
                hub=self.backend.hub,
                tokens=self.backend.tokens,
                fill_gap=self.backend.relay.fill_gap,
                subscriber=self.subscriber,
                outlet=self,
                max_events=self.backend.settings.resume_max_events,
                on_idle=self._end_replay,
            )
        self._replay.add(frame)

    def cancel_replay(self) -> None:
        """Stop the resumes that are in progress."""
        if self._replay is not None:
            self._replay.close()

    def _end_replay(self) -> None:
        self._replay = None

    def _check_rate(self, bucket: TokenBucket) -> None:
        """Count a frame. Raises `RateLimited` when it came too fast; closes a connection that ignores this."""
        retry_after_s = bucket.take(asyncio.get_running_loop().time())
        if not retry_after_s:
            return
        if bucket.refused > MAX_RATE_VIOLATIONS:
            self.close(CloseCode.POLICY_VIOLATION)
        retry_ms = max(1, round(retry_after_s * 1000))
        raise RateLimited("Too many frames. Wait for retryMs, then send this one again.", retry_ms=retry_ms)

    # --- what goes out --------------------------------------------------------------------------------

    def write(self, frames: bytes) -> None:
        """Write finished frames. A peer that reads too slowly is disconnected."""
        self.subscriber.write(frames)

    def send(self, *payloads: bytes) -> None:
        """Send payloads as text frames, in one write, unless the connection is closing."""
        if not self.is_closing:
            self.write(b"".join(map(text_frame, payloads)))

    async def send_and_drain(self, payload: bytes) -> None:
        """Send a payload, and return when the peer keeps up. Raises `ConnectionResetError` when it is gone."""
        self.send(payload)
        await self.drain()

    def send_error(self, error: ChatError, *, request_id: str | None = None, room_id: int | None = None) -> None:
        """Send an error frame."""
        self.send(_error_frame(error, request_id, room_id))

    def _flush_replies(self, _: "asyncio.Future[Any]") -> None:
        """Send the replies that are ready at the head of the pending ones."""
        payloads = []
        while self._pending_replies and self._pending_replies[0][0].done():
            future, reply = self._pending_replies.pop(0)
            if not future.cancelled() and (payload := self._reply_for(future, reply)):
                payloads.append(payload)
        if payloads:
            self.send(*payloads)
        if not self.transport.is_reading():
            self.read_on()

    def _reply_for(self, future: "asyncio.Future[Any]", reply: Reply) -> bytes | None:
        error = future.exception()
        if error is None:
            return reply.acknowledge(self, reply.frame, future.result())
        if not isinstance(error, ChatError):
            log.error("a frame of %s failed", self, exc_info=error)
            error = ChatError("Something went wrong in the server. It has been logged.")
        return _error_frame(error, reply.request_id, reply.frame.chatroom_id)


def _error_frame(error: ChatError, request_id: str | None, room_id: int | None) -> bytes:
    return error_frame(error.code, error.text, request_id=request_id, room_id=room_id, retry_ms=error.retry_ms)


def _log_fault(future: "asyncio.Future[Any]") -> None:
    """Take note of how a frame went whose author is gone."""
    if not future.cancelled() and not isinstance(error := future.exception(), ChatError | None):
        log.error("a frame of a user who is gone failed", exc_info=error)


def _is_closed(code: CloseCode) -> None:
    """Close a connection that is closed."""
