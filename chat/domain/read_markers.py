"""How far a user has read."""

from chat.db.pool import Database
from chat.errors import Forbidden
from chat.protocol.codec import encode
from chat.protocol.frames import READ, Read


async def read(db: Database, user_id: int, room_id: int, message_no: int) -> tuple[int, bytes]:
    """Raises how far a member has read; what it is now, and the frame that says so. Raises `Forbidden`."""
    now = await db.value("members/mark_read", room_id=room_id, user_id=user_id, message_no=message_no)
    if now is None:
        raise Forbidden("only members of a room can mark what they have read", code="not_a_member")
    return READ, encode(Read(room_id, now))
