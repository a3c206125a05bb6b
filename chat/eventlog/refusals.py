"""Why a write or a read is refused: the statuses that SQL returns, as errors."""

from collections.abc import Callable

from chat.errors import ChatError, Conflict, Forbidden, NotFound, Unavailable


def no_such_room() -> NotFound:
    """The room does not exist, or not for this user."""
    return NotFound("There is no such room.")


def room_is_busy() -> Unavailable:
    """Another transaction keeps the room locked. Nothing was stored, so its repeat is a new try."""
    return Unavailable("This room is busy; the write was not stored. Try again in a moment.", code="busy")


LOCKED = "locked"  # the status of a write whose rooms another transaction keeps locked

REFUSALS: dict[str, Callable[[], ChatError]] = {
    "not_found": no_such_room,
    LOCKED: room_is_busy,
    "archived": lambda: Forbidden("This room is archived; nobody can write there.", code="archived"),
    "reused": lambda: Conflict("This requestId belongs to another write. Use a new one.", code="request_id_reused"),
    "taken": lambda: Conflict("The name is taken by another room. Choose another one.", code="name_taken"),
}
