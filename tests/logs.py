"""Events made by hand, and pipes that keep what a socket writes."""

import asyncio
import json
from datetime import UTC, datetime
from typing import Any

from chat.eventlog.event import Event, event_frame
from chat.protocol.close_codes import CloseCode
from chat.protocol.frames import MEMBER, MESSAGE
from chat.protocol.notifications import Notification

ALICE, BOB = 1, 2
AT = datetime(2026, 11, 22, tzinfo=UTC)


def line(room: int, seq: int, user: int = ALICE, message_no: int | None = None) -> Event:
    """A message."""
    return Event(
        room, seq, MESSAGE, user, f"user{user}", f"user{user}@x.org", f"line {seq}", message_no or seq, None, None, AT
    )


def membership(room: int, seq: int, user: int, action: str) -> Event:
    """`joined` or `left`."""
    data: dict[str, Any] = {"action": action}
    if action == "joined":
        data["room"] = {"id": room, "name": f"room {room}", "kind": "public", "topic": ""}
    return Event(room, seq, MEMBER, user, f"user{user}", f"user{user}@x.org", None, None, data, None, AT)


def event_tuple(event: Event) -> Notification:
    """The event as the broker carries it."""
    return event.room_id, event.seq, event.kind, event.user_id, event_frame(event)


class Pipe(asyncio.WriteTransport):
    """A transport that keeps what is written. `stuck`: its peer does not read."""

    def __init__(self) -> None:
        super().__init__()
        self.payloads: list[bytes] = []
        self.writes = 0
        self.stuck = False
        self.aborted = False
        self.closed: list[CloseCode] = []
        self._size = 0

    def write(self, data: Any) -> None:
        assert not self.aborted
        self.writes += 1
        if self.stuck:
            self._size += len(data)
        data = bytes(data)
        while data:
            assert data[0] == 0x81, "every frame is a whole text"
            start, size = 2, data[1]
            if size == 126:
                start, size = 4, int.from_bytes(data[2:4], "big")
            elif size == 127:
                start, size = 10, int.from_bytes(data[2:10], "big")
            assert len(data) >= start + size
            self.payloads.append(data[start : start + size])
            data = data[start + size :]

    def get_write_buffer_size(self) -> int:
        return self._size

    def is_closing(self) -> bool:
        return self.aborted

    def abort(self) -> None:
        self.aborted = True

    def frames(self) -> list[dict[str, Any]]:
        return [json.loads(payload) for payload in self.payloads]

    def seqs(self, room: int) -> list[int]:
        return [frame["seq"] for frame in self.frames() if frame.get("chatroomId") == room and "seq" in frame]
