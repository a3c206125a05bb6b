"""Read markers: how far a user has read a room."""

from chat.db.pool import Database
from chat.errors import Forbidden
from chat.protocol.codec import encode
from chat.protocol.frames import FrameType, ReadMarker
from chat.protocol.notifications import Notification, Subject


async def mark_read(db: Database, user_id: int, room_id: int, message_no: int) -> Notification:
    """Move the member's read marker forward, never back. Return what to tell the user's other connections.

    Raises `Forbidden` for users who are not members, and `DatabaseError`.
    """
    now = await db.fetch_value("members/mark_read", int, room_id=room_id, user_id=user_id, message_no=message_no)
    if now is None:
        raise Forbidden("Only members of a room can move their read marker. Join it first.", code="not_a_member")
    frame = encode(ReadMarker(room_id, now))
    return Notification(room_id, None, FrameType.READ_MARKER, frame, (Subject(user_id, True),))
