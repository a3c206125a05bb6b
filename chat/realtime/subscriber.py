"""One websocket as the hub sees it."""

import asyncio
import logging
from collections.abc import Callable

from chat.protocol.close_codes import CloseCode

log = logging.getLogger(__name__)


class Socket:
    """One websocket as the hub sees it: somewhere to write, never to wait.

    `v2`: it sees every frame; else only messages, as the original's clients expect.
    `rooms`: where it is live; `resuming`: where it is about to be, and nothing else may make it so; true when its
    user has left the room meanwhile.
    `known`: the rooms that its user is in, as it was told; None until its first look at them. What changes
    before that only sets `changed`: look again. `left`: the number of the leave that it heard last, by room: no join
    of before counts, however late it comes. `close(code)` ends it in good order, without waiting.
    """

    __slots__ = ("_cap", "_transport", "changed", "close", "known", "left", "resuming", "rooms", "user_id", "v2")

    def __init__(
        self,
        user_id: int,
        transport: asyncio.WriteTransport,
        close: Callable[[CloseCode], None],
        *,
        v2: bool,
        cap: int,
    ) -> None:
        self.user_id, self.v2, self.close = user_id, v2, close
        self.rooms: set[int] = set()
        self.resuming: dict[int, bool] = {}
        self.known: set[int] | None = None
        self.changed = False
        self.left: dict[int, int] = {}
        self._transport, self._cap = transport, cap

    def offer(self, frames: bytes) -> None:
        """Writes finished websocket frames. A peer that has not read `cap` bytes by now is cut off."""
        transport = self._transport
        if transport.is_closing():
            return
        if transport.get_write_buffer_size() > self._cap:
            log.warning("user %d reads too slowly and is cut (%d)", self.user_id, CloseCode.TOO_SLOW)
            transport.abort()
        else:
            transport.write(frames)

    def unsent(self) -> int:
        """Bytes that the kernel has not taken yet."""
        return self._transport.get_write_buffer_size()
