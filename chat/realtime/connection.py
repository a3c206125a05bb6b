"""The websocket edge: one session a socket. protocol.py has its language, hub.py what it hears.

Frames are answered in the order of their coming: each write puts a future into `_answers`, and whatever is done
at its head goes out, joined, in one write. A session that has 256 writes unanswered is not read until some are.
"""

import asyncio
import logging
import random
import secrets
import socket as sockets
import time
from contextlib import suppress
from typing import Any

from aiohttp import WSMsgType, web

from chat.auth.tokens import Identity
from chat.db.errors import DatabaseError
from chat.domain import messages, read_markers
from chat.domain.slash_commands import is_command
from chat.errors import BadRequest, ChatError, RateLimited, Unavailable
from chat.eventlog.writer import Answer
from chat.http import app_keys as keys
from chat.http.authentication import V2
from chat.protocol.close_codes import CloseCode
from chat.protocol.codec import echo_of, encode
from chat.protocol.frames import (
    FRAME_BYTES,
    MESSAGE_CHARS,
    UNANSWERED,
    Ack,
    HelloFrame,
    Post,
    Read,
    Resume,
    decode,
    error_frame,
)
from chat.protocol.notifications import encode_notifications
from chat.protocol.text import check_client_id, clean_text
from chat.realtime.hub import Hub
from chat.realtime.rate_limit import Pace
from chat.realtime.replay import Replay
from chat.realtime.subscriber import Socket
from chat.realtime.websocket_frames import PING, Masked, framed, goodbye

log = logging.getLogger(__name__)

BURST = 5  # seconds' worth of messages that may come at once
PATIENCE = 100  # frames above the rate that are answered; who goes on is closed
RESUMES = 1000  # resumes that may come at once: a client that comes back has them for all its rooms
SEND_BUFFER = 64 * 1024  # bytes in the kernel; left to itself it hides megabytes from the cap
CLOSE_S = 2.0  # a peer answers a close within this time, or is cut
SPREAD_S = 1.0  # over which the sockets leave at a stop, so that they do not come back all at once


class Session:
    """One open websocket."""

    def __init__(self, request: web.Request, response: web.WebSocketResponse[Any], who: Identity, *, v2: bool) -> None:
        assert request.transport is not None
        self.app, self.who, self.v2 = request.app, who, v2
        self.hub: Hub = request.app[keys.HUB]
        settings = request.app[keys.SETTINGS]
        self._response = response
        self._transport = request.transport
        protocol = self._transport.get_protocol()
        assert isinstance(protocol, asyncio.Protocol)
        self._masked = Masked(protocol, self._unmasked)
        # No frame has come yet: `prepare` did not wait, and who sends frames before the 101 breaks the protocol.
        self._transport.set_protocol(self._masked)
        self._pinged: float | None = None  # when, if nothing came since
        self._transport.get_extra_info("socket").setsockopt(sockets.SOL_SOCKET, sockets.SO_SNDBUF, SEND_BUFFER)
        self._socket = Socket(who.user_id, self._transport, self.close, v2=v2, cap=settings.outbox_bytes)
        # A list, though it is read from its head: a deque takes 0.7 KiB, empty as it mostly is. An event has one, too.
        self._answers: list[tuple[asyncio.Future[Any], Post | Read]] = []
        self._answered: asyncio.Future[None] | None = None  # while it is waited for
        self._asking = asyncio.Lock()
        self._replay: Replay | None = None  # while it lasts: most of the time there is none, in very many sockets
        self._closing: asyncio.TimerHandle | None = None  # once closing: when the peer is cut
        self._ended: asyncio.Future[None] | None = None  # while it is waited for
        rate, now = settings.messages_per_s, asyncio.get_running_loop().time()
        self._pace = Pace(rate, rate * BURST, now)
        self._resume_pace = Pace(rate, RESUMES, now)
        self._code: CloseCode | None = None
        self.connection = secrets.token_urlsafe(9)

    async def run(self) -> None:
        """From the hello to the end."""
        loop = asyncio.get_running_loop()
        state = self.app[keys.STATE]
        expires_in = self.who.expires_at - time.time()
        expiry = loop.call_later(expires_in, self.close, CloseCode.SESSION_OVER)
        state.sessions.add(self)
        self.hub.connect(self._socket)
        log.debug("user %d is here (%s)", self.who.user_id, V2 if self.v2 else "plain")
        try:
            try:
                await self._enter()
            except (Unavailable, DatabaseError):
                self.close(CloseCode.SERVICE_RESTART)
            if state.stopping:  # since it came: nobody else tells it
                self.close(CloseCode.SERVICE_RESTART)
            with suppress(ConnectionError):  # a pong to somebody who is gone
                await self._listen()
        finally:
            expiry.cancel()
            state.sessions.discard(self)
            self.hub.disconnect(self._socket)
            if self._replay is not None:
                self._replay.close()
            for answer, _ in self._answers:
                answer.remove_done_callback(self._answer)
            if self._closing is not None:
                self._closing.cancel()
                self._transport.close()  # both have said goodbye
            if self._socket.unsent():  # a peer that does not read: nothing else would free its buffer
                self._transport.abort()
            if self._ended is not None and not self._ended.done():
                self._ended.set_result(None)
            log.info("user %d is gone (%s)", self.who.user_id, self._code or self._response.close_code)

    def close(self, code: CloseCode) -> None:
        """Says goodbye and hears nothing more; the session ends when the peer answers, or is cut.

        aiohttp's own close, called beside a receive, hangs up at once: what the peer has on its way then resets
        the connection, and it loses what it had not read yet, the goodbye too.
        """
        if self._closing is None:
            self._send_close(code)
            self._code = code
            self._closing = asyncio.get_running_loop().call_later(CLOSE_S, self._transport.abort)
            self.hub.disconnect(self._socket)
            if self._replay is not None:
                self._replay.close()

    def _unmasked(self) -> None:
        self.close(CloseCode.PROTOCOL_ERROR)

    def _send_close(self, code: CloseCode) -> None:
        self._socket.offer(goodbye(code, code.name.lower().replace("_", " ")))

    def beat(self, patience_s: float) -> None:
        """Pings a peer from which nothing came since the last beat, and cuts it when it leaves that unanswered."""
        now = asyncio.get_running_loop().time()
        if self._masked.heard or not self._transport.is_reading():  # who is not read cannot answer
            self._masked.heard, self._pinged = False, None
        elif self._pinged is None:
            if self._closing is None:
                self._pinged = now
                self._socket.offer(PING)
        elif now - self._pinged >= patience_s:
            log.info("user %d does not answer", self.who.user_id)
            self._transport.abort()

    async def stop(self) -> None:
        """Ends it because the server stops, at a moment of its own."""
        await asyncio.sleep(random.uniform(0, SPREAD_S))
        self.close(CloseCode.SERVICE_RESTART)
        if self in self.app[keys.STATE].sessions:
            self._ended = asyncio.get_running_loop().create_future()
            await self._ended

    async def _enter(self) -> None:
        """The hello, or for the original's clients: live in all their rooms at once."""
        while True:
            self._socket.changed = False
            joined = await self.app[keys.JOINED].of(self.who.user_id)
            for row in () if self.v2 else joined:
                if (self.hub.sent(row.room_id) or row.last_seq) < row.last_seq:  # else it would hear those again
                    await asyncio.shield(self.hub.on_gap(row.room_id))
            missed = any(self.hub.began_after(row.room_id, row.last_seq) for row in joined)
            if not self._socket.changed and not missed:
                break  # else he joined or left one while we looked, or may have
        self._socket.known = {row.room_id for row in joined}
        if self.v2:
            self._send(self._hello(joined))
        elif self._closing is None:
            for row in joined:
                self.hub.join(self._socket, row.room_id, row.last_seq)

    def _hello(self, joined: list[Any]) -> bytes:
        user = {"id": self.who.user_id, "username": self.who.username, "email": self.who.email}
        listed = [
            {
                "chatroomId": row.room_id,
                "name": row.name,
                "seq": row.last_seq,
                "messageNo": row.last_message_no,
                "readMessageNo": row.read_message_no,
            }
            for row in joined
        ]
        settings = self.app[keys.SETTINGS]
        limits = {
            "frameBytes": FRAME_BYTES,
            "messageChars": MESSAGE_CHARS,
            "messagesPerS": settings.messages_per_s,
            "unanswered": UNANSWERED,
            "resumeEvents": settings.resume_events,
        }
        return encode(HelloFrame(user, self.connection, self.app[keys.TOKENS].epoch, listed, limits))

    # --- what comes in --------------------------------------------------------------------------------

    async def _listen(self) -> None:
        async for message in self._response:
            if self._closing is not None:
                continue  # until the peer's goodbye, which ends the loop
            if message.type is WSMsgType.BINARY:
                self.close(CloseCode.UNSUPPORTED_DATA)
            elif message.type is WSMsgType.TEXT:
                self._take(message.data)
            while len(self._answers) >= UNANSWERED:
                self._answered = asyncio.get_running_loop().create_future()
                await self._answered

    def _take(self, data: bytes) -> None:
        """One frame. Whatever is wrong with it is answered, and the socket stays."""
        try:
            data.decode()
        except UnicodeDecodeError:
            return self.close(CloseCode.INVALID_DATA)
        try:
            try:
                frame = decode(data)
            except BadRequest:
                self._limit(self._pace)  # nonsense counts as well
                raise
            if isinstance(frame, Resume):
                self._limit(self._resume_pace)
                self._resume(frame)
            else:
                self._limit(self._pace)
                self._await(self._write(frame) if isinstance(frame, Post) else self._read(frame), frame)
        except ChatError as error:
            self._refuse(error, *echo_of(data))

    def _resume(self, frame: Resume) -> None:
        if not self.v2:
            raise BadRequest("resume needs the subprotocol chat.v2")
        if self._replay is None:
            self._replay = Replay(
                self.app,
                self.who.user_id,
                self._socket,
                self._send,
                self._response.send_frame,
                self._refuse,
                self._replayed,
            )
        self._replay.add(frame)

    def _replayed(self) -> None:
        self._replay = None

    def _write(self, frame: Post) -> "asyncio.Future[Any]":
        check_client_id(frame.clientId)
        text = clean_text(frame.chatmessage)
        if is_command(text):
            return asyncio.ensure_future(self._ask(frame, text))
        return messages.post(self.app[keys.JOURNAL], self.who.user_id, frame.chatroomId, text, frame.clientId)

    async def _ask(self, frame: Post, line: str) -> bool:
        async with self._asking:  # one after the other, so that the first of two twins is the original
            return await self.app[keys.COMMANDS].ask(self.who, frame.chatroomId, line, frame.clientId)

    def _read(self, frame: Read) -> "asyncio.Future[Any]":
        async def mark() -> None:
            kind, told = await read_markers.read(self.app[keys.DB], self.who.user_id, frame.chatroomId, frame.messageNo)
            self.app[keys.BROKER].publish(
                encode_notifications([(frame.chatroomId, None, kind, self.who.user_id, told)])
            )

        return asyncio.ensure_future(mark())

    def _limit(self, pace: Pace) -> None:
        """Counts a frame. Raises `RateLimited` when it comes too fast; closes who does not heed that."""
        wait_s = pace.wait_s(asyncio.get_running_loop().time())
        if not wait_s:
            return
        if pace.refused > PATIENCE:
            self.close(CloseCode.POLICY_VIOLATION)
        raise RateLimited("too many frames; wait, please", retry_ms=max(1, round(wait_s * 1000)))

    # --- what goes out --------------------------------------------------------------------------------

    def _send(self, *frames: bytes) -> None:
        if self._closing is None:
            self._socket.offer(b"".join(map(framed, frames)))

    def _refuse(self, error: ChatError, client_id: str | None, room_id: int | None) -> None:
        self._send(error_frame(error.code, error.text, client_id=client_id, room_id=room_id, retry_ms=error.retry_ms))

    def _await(self, answer: "asyncio.Future[Any]", frame: Post | Read) -> None:
        self._answers.append((answer, frame))
        answer.add_done_callback(self._answer)

    def _answer(self, _: "asyncio.Future[Any]") -> None:
        """Sends what is done at the head of the answers."""
        frames = []
        while self._answers and self._answers[0][0].done():
            answer, frame = self._answers.pop(0)
            if not answer.cancelled() and (told := self._told(answer, frame)):
                frames.append(told)
        if self._answered is not None and not self._answered.done():
            self._answered.set_result(None)
        if frames:
            self._send(*frames)

    def _told(self, answer: "asyncio.Future[Any]", frame: Post | Read) -> bytes | None:
        client_id = frame.clientId if isinstance(frame, Post) else None
        error = answer.exception()
        if isinstance(error, ChatError):
            return error_frame(
                error.code, error.text, client_id=client_id, room_id=frame.chatroomId, retry_ms=error.retry_ms
            )
        if error is not None:
            log.error("a frame of user %d failed", self.who.user_id, exc_info=error)
            return error_frame(
                "internal", "something went wrong in the server", client_id=client_id, room_id=frame.chatroomId
            )
        if client_id is None or not self.v2:
            return None
        result = answer.result()
        if not isinstance(result, Answer):  # a command: it is known whether it was asked before, and no more
            return encode(Ack(client_id, frame.chatroomId, duplicate=result))
        event = result.event
        assert event is not None
        return encode(Ack(client_id, event.room_id, event.seq, event.message_no, event.created_at, result.duplicate))
