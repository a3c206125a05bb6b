"""Seed rows: two people, a room and a conversation, written as users write them."""

from chat.auth.passwords import Passwords
from chat.broker.memory import MemoryBroker
from chat.config import Settings
from chat.db.pool import Database
from chat.domain import accounts as users
from chat.domain import messages, rooms
from chat.errors import Conflict
from chat.eventlog.writer import EventWriter

PASSWORD = "correct horse"  # of both, on a developer's machine
CONVERSATION = [
    ("alice", "Good morning! Is this thing on?"),
    ("bob", "It is. And it remembers everything."),
    ("alice", "Even if the broker dies?"),
    ("bob", "Especially then."),
]


async def plant(settings: Settings) -> str:
    """Adds what is missing; says so in one line."""
    db = Database(settings.database_url, size=2, name="seed")
    await db.open()
    passwords = Passwords(threads=1, queue_timeout_s=settings.hash_queue_timeout_s)
    journal = EventWriter(db, MemoryBroker(), timeout_s=settings.write_timeout_s, queue_limit=100)
    journal.open()
    try:
        people = {
            name: await users.sign_up(db, passwords, name, f"{name}@example.com", PASSWORD) for name in ("alice", "bob")
        }
        room = await rooms.create(journal, people["alice"].id, "Python", "Snakes and ladders")
        for name, text in CONVERSATION:
            await messages.send_message(journal, people[name].id, room.id, text, None)
    except Conflict:
        return "alice or bob is there already: nothing was added"
    finally:
        await journal.close()
        await db.close()
        passwords.close()
    return f"added alice@example.com and bob@example.com (password: {PASSWORD}), a room and a conversation"
