"""Commands: lines that a robot answers. They are no messages; what the robot says is one.

    /stock=CODE ─ row ─ queue JOBSITY_RECEIVER ─ robot ─ queue JOBSITY_PUBLISHER ─ row's outcome + event

Each command has one visible outcome. Reply and deadline both try to set it, under the room's lock; the winner's
message commits with it. So a reply that comes twice, late or after a crash says nothing a second time.
"""

import asyncio
import logging
import re
from secrets import token_urlsafe

from chat.auth.tokens import Identity
from chat.broker.base import Broker, QueueMessage
from chat.db.errors import DatabaseError, StatementTimeout
from chat.db.pool import Database
from chat.errors import BadRequest, Conflict, Forbidden, NotFound, OutcomeUnknown, Unavailable
from chat.eventlog.writer import Journal
from chat.protocol.bot_queues import COMMAND_QUEUE, REPLY_QUEUE, STOCK, STOCK_SERVICE_DOWN
from chat.protocol.codec import encode, number
from chat.protocol.frames import MESSAGE, MessageFrame, Post, decode
from chat.protocol.notifications import encode_notifications
from chat.protocol.text import clean_text

log = logging.getLogger(__name__)

ANSWERED, EXPIRED = "answered", "expired"
OVERDUE_ROWS = 100  # closed at a time

_LINE = re.compile(r"/(\w{1,32})=(.*)")  # one line: `.` stops at a line break


def is_command(text: str) -> bool:
    """Whether a cleaned message is a command: one line of the form /name=argument."""
    return _LINE.fullmatch(text) is not None


class Commands:
    """Asks robots and lets them answer.

    `timeout_s`: when a command's time is up; `write_timeout_s`: when its author knows whether it was asked.
    """

    def __init__(
        self, db: Database, journal: Journal, broker: Broker, *, timeout_s: float, write_timeout_s: float
    ) -> None:
        self._db, self._journal, self._broker = db, journal, broker
        self._timeout_s, self._write_timeout_s = timeout_s, write_timeout_s
        broker.consume(REPLY_QUEUE, self.reply)

    async def ask(self, who: Identity, room_id: int, line: str, client_id: str | None) -> bool:
        """Hands a command to its robot and shows the line to the room; whether it was asked before.

        Raises `BadRequest` (unknown command), `NotFound`, `Forbidden`, `Conflict`, `Unavailable` (nothing was
        asked) or `OutcomeUnknown`.
        """
        name = _LINE.fullmatch(line)
        if name is None or name[1] != STOCK:
            raise BadRequest(f"there is no such command; known: /{STOCK}=CODE", code="unknown_command")
        client_id = client_id or token_urlsafe(12)
        try:
            async with asyncio.timeout(self._write_timeout_s):
                command_id, duplicate = await self._note(who.user_id, room_id, line, client_id)
                if not duplicate:
                    await self._send(who, room_id, line, command_id)
        except TimeoutError:
            raise OutcomeUnknown("This took too long. Repeat it with the same clientId.") from None
        if not duplicate:
            frame = encode(MessageFrame(room_id, line, who.email, who.user_id, who.username, clientId=client_id))
            self._broker.publish(encode_notifications([(room_id, None, MESSAGE, who.user_id, frame)]))
        return duplicate

    async def _note(self, user_id: int, room_id: int, line: str, client_id: str) -> tuple[int, bool]:
        """The command's row: its id, and whether it stood there before."""
        listening = await self._broker.has_consumers(COMMAND_QUEUE)
        while True:
            try:
                row = await self._db.one(
                    "commands/ask",
                    room_id=room_id,
                    user_id=user_id,
                    line=line,
                    client_id=client_id,
                    listening=listening,
                )
            except StatementTimeout:
                raise OutcomeUnknown("The database did not answer. Repeat it with the same clientId.") from None
            assert row is not None
            if row.id is not None:
                return row.id, row.verdict == "duplicate"
            if row.verdict == "unavailable":
                raise Unavailable(f"{STOCK_SERVICE_DOWN}: no robot is listening; try again later")
            if row.verdict == "not_found":
                raise NotFound("there is no such room")
            if row.verdict == "archived":
                raise Forbidden("this room is archived: nobody writes there any more", code="archived")
            if row.verdict == "reused":
                raise Conflict("this clientId belongs to another message", code="client_id_reused")
            await self._journal.change("members/join", room_id=room_id, user_id=user_id)

    async def _send(self, who: Identity, room_id: int, line: str, command_id: int) -> None:
        body = encode({"type": MESSAGE, "chatmessage": line, "chatuser": who.email, "chatroomId": room_id})
        try:
            await self._broker.enqueue(COMMAND_QUEUE, QueueMessage(body, str(command_id)), expires_s=self._timeout_s)
        except Unavailable:
            if await self._withdraw(command_id):
                raise

    async def _withdraw(self, command_id: int) -> bool:
        """Takes a command back that reached no robot. False: its deadline came first, and its outcome is in the room.

        Raises `OutcomeUnknown` where the row may have stayed: it would still get an outcome when it expires.
        """
        try:
            return await self._db.value("commands/withdraw", command_id=command_id) is not None
        except DatabaseError:
            raise OutcomeUnknown("The command may be answered later. Repeat it with the same clientId.") from None

    async def reply(self, letter: QueueMessage) -> None:
        """Says what a robot answered. Raises when it could not be stored: the letter has to come again."""
        try:
            said = decode(letter.body)
            if not isinstance(said, Post):
                raise BadRequest("a message was expected")
            command_id = number(letter.correlation_id) if letter.correlation_id else None
            text = clean_text(said.chatmessage)
        except BadRequest as error:
            log.warning("a robot's answer is dropped: %s", error.text)
            return
        answered = await self._settle(command_id, said.chatroomId, ANSWERED, text)
        if not answered:
            log.info("a robot's answer came too late, or twice")

    async def expire(self) -> None:
        """Says for each command whose time is up that nobody answered. Every process may do it."""
        seconds = self._timeout_s
        for row in await self._db.all("commands/overdue", seconds=seconds, most=OVERDUE_ROWS):
            await self._settle(row.id, row.room_id, EXPIRED, STOCK_SERVICE_DOWN)

    async def _settle(self, command_id: int | None, room_id: int, outcome: str, text: str) -> bool:
        answer = await self._journal.change(
            "commands/answer", command_id=command_id, room_id=room_id, outcome=outcome, body=text
        )
        return answer.event is not None
