"""Events made by hand."""

from datetime import UTC, datetime
from typing import Any

from chat.eventlog.event import Event, EventKind

ALICE, BOB = 1, 2
AT = datetime(2026, 11, 22, tzinfo=UTC)


def line(room: int, seq: int, user: int = ALICE, message_no: int | None = None) -> Event:
    """A message."""
    return Event(
        room,
        seq,
        EventKind.MESSAGE,
        user,
        f"user{user}",
        f"user{user}@x.org",
        f"line {seq}",
        message_no or seq,
        None,
        None,
        AT,
    )


def membership(room: int, seq: int, user: int, action: str) -> Event:
    """`joined` or `left`."""
    data: dict[str, Any] = {"action": action}
    if action == "joined":
        data["room"] = {"id": room, "name": f"room {room}", "kind": "public", "topic": ""}
    return Event(room, seq, EventKind.MEMBER, user, f"user{user}", f"user{user}@x.org", None, None, data, None, AT)
