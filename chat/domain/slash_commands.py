"""Slash commands: lines that a bot answers. They are not messages; the bot's answer is one.

    /stock=CODE ─ row ─ queue JOBSITY_RECEIVER ─ bot ─ queue JOBSITY_PUBLISHER ─ row's outcome + event

Each command has one visible outcome. Reply and deadline both try to set it, under the room's lock; the winner's message
commits with it. So a reply that comes twice, late or after a crash writes nothing a second time, and a command whose
bot has just vanished is settled by its deadline.
"""

import asyncio
import logging
import re
from secrets import token_urlsafe
from typing import NamedTuple

from chat.auth.tokens import Identity
from chat.broker.base import Broker, QueueMessage
from chat.db.errors import DatabaseError, StatementTimeout
from chat.db.pool import Database
from chat.errors import BadRequest, OutcomeUnknown, Unavailable
from chat.eventlog.notifier import Notifier
from chat.eventlog.refusals import REFUSALS
from chat.eventlog.writer import EventWriter
from chat.protocol.bot_queues import COMMAND_QUEUE, REPLY_QUEUE, STOCK, STOCK_UNAVAILABLE, BotMessage
from chat.protocol.codec import encode, parse_bigint
from chat.protocol.frames import FrameType, MessageFrame, SendMessage, decode
from chat.protocol.notifications import Notification
from chat.protocol.text import clean_text

log = logging.getLogger(__name__)

MAX_OPEN_COMMANDS = 3  # of one user
LATE_REPLY_S = 60.0  # for how long a reply without an id may be the answer to a command that has expired
EXPIRE_BATCH = 250  # overdue commands that are closed in one transaction: more would delay the messages behind it

_LINE = re.compile(r"/(\w{1,32})=(.*)")  # one line: `.` stops at a line break


class _RecordedCommand(NamedTuple):
    status: str
    id: int | None


def is_command(text: str) -> bool:
    """Whether a cleaned message is a command: one line of the form /name=argument."""
    return _LINE.fullmatch(text) is not None


class SlashCommands:
    """Hands commands to bots and writes their answers.

    `timeout_s`: by when a bot has to answer; `write_timeout_s`: by when the author knows whether it was asked.
    """

    def __init__(
        self,
        db: Database,
        writer: EventWriter,
        broker: Broker,
        notifier: Notifier,
        *,
        timeout_s: float,
        write_timeout_s: float,
    ) -> None:
        self._db, self._writer, self._broker, self._notifier = db, writer, broker, notifier
        self._timeout_s, self._write_timeout_s = timeout_s, write_timeout_s
        broker.consume(REPLY_QUEUE, self.on_reply)

    async def run(self, identity: Identity, room_id: int, line: str, request_id: str | None) -> bool:
        """Hand a command to its bot and show the line to the room. Return whether that had been done before.

        Raises `BadRequest` (unknown command), `NotFound`, `Forbidden`, `Conflict`, `Unavailable` (no bot was asked;
        `busy`: because too many commands of the user are open) or `OutcomeUnknown`.
        """
        match = _LINE.fullmatch(line)
        if match is None or match[1] != STOCK:
            raise BadRequest(f"There is no such command. Known: /{STOCK}=CODE.", code="unknown_command")
        request_id = request_id or token_urlsafe(12)
        try:
            async with asyncio.timeout(self._write_timeout_s):
                command_id, duplicate = await self._record(identity.user_id, room_id, line, request_id)
                if not duplicate:
                    await self._enqueue(identity, room_id, line, command_id)
        except TimeoutError:
            raise OutcomeUnknown("This took too long. Repeat it with the same requestId.") from None
        if not duplicate:
            self._show(identity, room_id, line, request_id)
        return duplicate

    async def _record(self, user_id: int, room_id: int, line: str, request_id: str) -> tuple[int, bool]:
        """Insert the command's row. Return its id, and whether it was there before."""
        has_bot = await self._broker.has_consumers(COMMAND_QUEUE)
        while True:
            try:
                row = await self._db.fetch_one(
                    "commands/create",
                    _RecordedCommand,
                    room_id=room_id,
                    user_id=user_id,
                    line=line,
                    request_id=request_id,
                    has_bot=has_bot,
                    open_limit=MAX_OPEN_COMMANDS,
                )
            except StatementTimeout:
                raise OutcomeUnknown("The database did not answer. Repeat it with the same requestId.") from None
            assert row is not None
            if row.id is not None:
                return row.id, row.status == "duplicate"
            if row.status == "unavailable":
                raise Unavailable(f"{STOCK_UNAVAILABLE}: no bot listens to this command. Try again later.")
            if row.status == "busy":
                raise Unavailable(
                    f"{MAX_OPEN_COMMANDS} of your commands wait for their answers, so this one was not recorded. "
                    "Try again when one of them is answered.",
                    code="busy",
                )
            if refusal := REFUSALS.get(row.status):
                raise refusal()
            await self._writer.run("members/join", room_id=room_id, user_id=user_id)

    async def _enqueue(self, identity: Identity, room_id: int, line: str, command_id: int) -> None:
        body = encode(BotMessage(line, identity.email, room_id))
        try:
            message = QueueMessage(body, str(command_id))
            await self._broker.enqueue(COMMAND_QUEUE, message, expires_s=self._timeout_s)
        except Unavailable:
            if await self._cancel(command_id):
                raise

    async def _cancel(self, command_id: int) -> bool:
        """Take a command back that reached no bot. False: its deadline came first, and its outcome is in the room.

        Raises `OutcomeUnknown` where the row may have stayed: it would still get an outcome when it expires.
        """
        try:
            return await self._db.fetch_value("commands/cancel", int, command_id=command_id) is not None
        except DatabaseError:
            raise OutcomeUnknown("The command may be answered later. Repeat it with the same requestId.") from None

    def _show(self, identity: Identity, room_id: int, line: str, request_id: str) -> None:
        """Show the line to the room. It is not in the log, so it has no seq."""
        frame = MessageFrame(room_id, line, identity.email, identity.user_id, identity.username, request_id=request_id)
        self._notifier.notify([Notification(room_id, None, FrameType.MESSAGE, encode(frame))])

    async def on_reply(self, message: QueueMessage) -> None:
        """Write what a bot answered. Raises `Unavailable` or `OutcomeUnknown`: then the message has to come again."""
        try:
            reply = decode(message.body)
            if not isinstance(reply, SendMessage):
                raise BadRequest("A message was expected.")
            command_id = parse_bigint(message.correlation_id) if message.correlation_id else None
            text = clean_text(reply.chatmessage)
        except BadRequest as error:
            log.warning("a bot's reply is dropped: %s", error.text)
            return
        try:
            result = await self._writer.run(
                "commands/settle", command_id=command_id, room_id=reply.chatroom_id, late_s=LATE_REPLY_S, body=text
            )
        except OutcomeUnknown:
            if command_id is not None:
                raise
            # The writer repeats it until its outcome is known. If it came again, it could answer a second command.
            log.warning("the outcome of a bot's reply is not known yet")
            return
        if result.event is None:
            log.info("a bot's reply is dropped: no open command is known to be its own; it may be late or a repeat")

    async def expire(self) -> None:
        """Write for each overdue command that no bot answered, until there is none. Every process may do it."""
        while await self._db.fetch_value("commands/find_overdue", int, seconds=self._timeout_s) is not None:
            result = await self._writer.run(
                "commands/expire", seconds=self._timeout_s, limit=EXPIRE_BATCH, body=STOCK_UNAVAILABLE
            )
            if result.event is None:  # their rooms are locked at the moment
                return
