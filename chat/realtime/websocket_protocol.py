"""A websocket on a transport: control frames, the close handshake, back-pressure and the keepalive.

What a text means is up to the subclass. There is no task and no queue: the transport calls, and what is to be sent goes
to it at once.
"""

import asyncio
import logging

from chat.protocol.close_codes import CloseCode
from chat.realtime.websocket_frames import PING_FRAME, FrameError, FrameReader, Opcode, close_frame, pong_frame

log = logging.getLogger(__name__)

NORMAL_CLOSURE = 1000  # the answer to a close without a code
MAX_MESSAGES_A_TURN = 200  # of one peer; they take a millisecond
CLOSE_TIMEOUT_S = 2.0  # a peer answers a close within this time, or is disconnected


class WebsocketProtocol(asyncio.Protocol):
    """One websocket whose upgrade is done.

    transport: set by `connection_made`
    close_code: the code that ended it, ours if we were the first to close; None if there was none
    """

    __slots__ = (
        "_close_timer",
        "_drained",
        "_is_broken",
        "_is_writing_paused",
        "_pinged_at",
        "_reader",
        "_received_data",
        "_waits_for_peer",
        "close_code",
        "transport",
    )

    transport: asyncio.Transport

    def __init__(self, max_text_bytes: int) -> None:
        self._reader = FrameReader(max_text_bytes)
        self._is_broken = False  # after a violation, nothing that comes is looked at
        self._received_data = True  # since the last look of the keepalive
        self._pinged_at: float | None = None  # if nothing came since
        self._is_writing_paused = False
        self._waits_for_peer = False  # to read the pongs that it has asked for
        self._drained: asyncio.Future[None] | None = None  # while it is waited for
        self._close_timer: asyncio.TimerHandle | None = None  # once closing
        self.close_code: int | None = None

    # --- what a subclass adds -------------------------------------------------------------------------

    def on_text(self, data: bytes) -> None:
        """Handle a text, which may be no UTF-8."""
        raise NotImplementedError

    def is_ready(self) -> bool:
        """Whether the next text may be handled. If not, nothing is read until `read_on` is called."""
        return True

    def on_closing(self) -> None:
        """Called once, when either side has begun to close."""

    def on_closed(self) -> None:
        """Called once, when the connection has ended."""

    def write(self, frames: bytes) -> None:
        """Write finished frames."""
        self.transport.write(frames)

    # --- what the subclass may call -------------------------------------------------------------------

    @property
    def is_closing(self) -> bool:
        """Whether either side has begun to close, or is gone: nothing more is handled or sent."""
        return self._close_timer is not None or self.transport.is_closing()

    def close(self, code: CloseCode) -> None:
        """Send a close frame and handle nothing more. The connection ends when the peer answers, or is disconnected.

        To hang up at once would reset the connection where the peer has something on its way: the peer would lose what
        it had not read yet, the close frame too.
        """
        if not self.is_closing:
            self._begin_close(code, close_frame(code, code.name.lower().replace("_", " ")))
            self.read_on()  # up to the peer's close frame

    def read_on(self) -> None:
        """Handle what has come meanwhile, and read again when all of it is handled."""
        if self._handle_messages() and not self.transport.is_closing():
            self.transport.resume_reading()  # does nothing where reading is not paused

    async def drain(self) -> None:
        """Wait until the peer has taken most of what was written. Raises `ConnectionResetError` when it is gone."""
        if self._is_writing_paused:
            self._drained = asyncio.get_running_loop().create_future()
            await self._drained
        if self.transport.is_closing():
            raise ConnectionResetError("The peer is gone.")

    def ping_if_idle(self, pong_timeout_s: float) -> None:
        """Ping a peer from which nothing came since the last call; disconnect it when it leaves that unanswered."""
        if self._received_data or not self.transport.is_reading():  # a peer that is not read cannot answer
            self._received_data, self._pinged_at = False, None
            return
        now = asyncio.get_running_loop().time()
        if self._pinged_at is None:
            if not self.is_closing:
                self._pinged_at = now
                self.write(PING_FRAME)
        elif now - self._pinged_at >= pong_timeout_s:
            log.info("%s does not answer a ping and is disconnected", self)
            self.transport.abort()

    # --- what the transport calls ---------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self._received_data = True
        if not self._is_broken:
            self._reader.feed(data)
            if not self._handle_messages() and not self.transport.is_closing():
                self.transport.pause_reading()

    def eof_received(self) -> bool:
        if self.transport.get_write_buffer_size():  # a peer that does not read: nothing else would free its buffer
            self.transport.abort()
        return False  # the transport closes itself

    def connection_lost(self, error: Exception | None) -> None:
        if self._close_timer is not None:
            self._close_timer.cancel()
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)
        self._reader = FrameReader(0)  # what is half read may be large, and a command may hold this object for a while
        self.on_closed()

    def pause_writing(self) -> None:
        self._is_writing_paused = True

    def resume_writing(self) -> None:
        self._is_writing_paused = self._waits_for_peer = False
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)
        self.read_on()

    # --- frames ---------------------------------------------------------------------------------------

    def _may_handle(self) -> bool:
        return self.is_closing or (self.is_ready() and not self._waits_for_peer)

    def _handle_messages(self) -> bool:
        """Handle what has come. Return whether more may come.

        It may not while a text has to wait or a peer that sends pings does not read, nor when there is too much for one
        turn of the loop.
        """
        try:
            for _ in range(MAX_MESSAGES_A_TURN):
                if not self._may_handle():
                    return False
                message = None if self._is_broken else self._reader.read()
                if message is None:
                    return True
                if message.opcode is Opcode.CLOSE:
                    self._answer_close(message.payload)
                elif self.is_closing:
                    continue
                elif message.opcode is Opcode.TEXT:
                    self.on_text(message.payload)
                elif message.opcode is Opcode.PING:
                    self.write(pong_frame(message.payload))
                    self._waits_for_peer = self._is_writing_paused
        except FrameError as error:
            self._is_broken = True
            self.close(error.code)
            return True
        asyncio.get_running_loop().call_soon(self.read_on)  # the others have their turn first
        return False

    def _answer_close(self, payload: bytes) -> None:
        if not self.is_closing:
            code = int.from_bytes(payload[:2]) if payload else NORMAL_CLOSURE
            self._begin_close(code, close_frame(code))
        self._is_broken = True  # nothing may follow a close frame
        self.transport.close()  # when what was written has been sent

    def _begin_close(self, code: int, frame: bytes) -> None:
        self.write(frame)
        self.close_code = code
        self._close_timer = asyncio.get_running_loop().call_later(CLOSE_TIMEOUT_S, self.transport.abort)
        self.on_closing()
