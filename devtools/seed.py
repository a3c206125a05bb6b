"""Seed data: two users, a room and a conversation, written through the domain as real users would write them."""

from chat.auth.passwords import Passwords
from chat.broker.memory import MemoryBroker
from chat.config import Settings
from chat.db.pool import Database
from chat.domain import accounts, messages, rooms
from chat.errors import Conflict
from chat.eventlog.notifier import Notifier
from chat.eventlog.writer import EventWriter

PASSWORD = "correct horse"  # of both users, for a developer's machine only
CONVERSATION = [
    ("alice", "Good morning! Is this thing on?"),
    ("bob", "It is. And it remembers everything."),
    ("alice", "Even if the broker dies?"),
    ("bob", "Especially then."),
]


async def seed(settings: Settings) -> str:
    """Add the seed data unless one of its users exists. Returns one line that says what was done."""
    db = Database(settings.database_url, size=2, name="seed")
    await db.open()
    passwords = Passwords(threads=1, queue_timeout_s=settings.hash_queue_timeout_s)
    writer = EventWriter(db, Notifier(MemoryBroker()), timeout_s=settings.write_timeout_s, queue_limit=100)
    writer.open()
    try:
        users = {
            name: await accounts.sign_up(db, passwords, name, f"{name}@example.com", PASSWORD)
            for name in ("alice", "bob")
        }
        room = await rooms.create(writer, users["alice"].id, "Python", "Snakes and ladders")
        for name, text in CONVERSATION:
            await messages.send_message(writer, users[name].id, room.id, text, None)
    except Conflict:
        return "alice or bob exists already: nothing was added"
    finally:
        await writer.close()
        await db.close()
        passwords.close()
    return f"added alice@example.com and bob@example.com (password: {PASSWORD}), a room and a conversation"
