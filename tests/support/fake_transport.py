"""A transport for sockets without a network."""

import asyncio
import json
from typing import Any

from chat.protocol.close_codes import CloseCode
from tests.support.websocket_bytes import Opcode, payload_ranges

FINAL_TEXT = 0x80 | Opcode.TEXT


class FakeSocket:
    """A socket whose options nobody looks at."""

    @staticmethod
    def setsockopt(*options: int) -> None:
        pass


class FakeTransport(asyncio.Transport):
    """A transport that keeps what is written.

    stuck         the peer does not read: what is written stays in the buffer
    unsent_bytes  what a stuck transport has in its buffer
    """

    def __init__(self) -> None:
        super().__init__({"socket": FakeSocket})
        self.payloads: list[bytes] = []
        self.writes = 0
        self.stuck = False
        self.aborted = False
        self.closed: list[CloseCode] = []
        self.unsent_bytes = 0

    def write(self, data: Any) -> None:
        assert not self.aborted
        self.writes += 1
        if self.stuck:
            self.unsent_bytes += len(data)
        data, start = bytes(data), 0
        for begin, end in payload_ranges(data):
            assert data[start] == FINAL_TEXT, "every frame is a whole text"
            self.payloads.append(data[begin:end])
            start = end
        assert start == len(data), "only whole frames are written"

    def get_write_buffer_size(self) -> int:
        return self.unsent_bytes

    def is_reading(self) -> bool:
        return not self.aborted

    def resume_reading(self) -> None:
        pass

    def is_closing(self) -> bool:
        return self.aborted

    def abort(self) -> None:
        self.aborted = True

    def frames(self) -> list[dict[str, Any]]:
        return [json.loads(payload) for payload in self.payloads]

    def seqs(self, room: int) -> list[int]:
        return [frame["seq"] for frame in self.frames() if frame.get("chatroomId") == room and "seq" in frame]
