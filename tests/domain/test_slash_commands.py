"""chat/domain/slash_commands.py: one command, one visible outcome, whatever happens to anybody in it."""

import asyncio
import contextlib
import json
import logging
import signal
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any, NamedTuple, Self

import aiormq
import psycopg2
import pytest
from aiormq import spec
from aiormq.abc import AbstractChannel, DeliveredMessage

from chat import lifecycle
from chat.auth.tokens import Identity
from chat.broker import rabbitmq
from chat.broker.base import QueueMessage
from chat.broker.memory import MemoryBroker
from chat.config import Settings
from chat.db.errors import StatementTimeout, Unreachable
from chat.db.pool import Database
from chat.domain import slash_commands
from chat.domain.slash_commands import SlashCommands, is_command
from chat.errors import OutcomeUnknown, Unavailable
from chat.eventlog.notifier import Notifier
from chat.eventlog.writer import EventWriter
from chat.http import app_keys
from chat.protocol.bot_queues import COMMAND_QUEUE, REPLY_QUEUE, STOCK_UNAVAILABLE
from tests.support.client import GENERAL, Person
from tests.support.names import unique
from tests.support.proxy import Proxy
from tests.support.server import InProcessServer, process, running_bot, serving
from tests.support.settings import settings_for
from tests.support.stock_service import StockService
from tests.support.waiting import PATIENCE_S, eventually

pytestmark = pytest.mark.timeout(60)

QUOTE = "AAPL.US quote is $93.42 per share"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rabbitmq, "QUEUE_RETRY_S", 0.05)
    monkeypatch.setattr(rabbitmq, "CONSUMER_CHECK_S", 0.05)


def said_by_robot(events: list[dict[str, Any]]) -> list[str]:
    return [event["chatmessage"] for event in events if event.get("username") == "robot"]


def reply_for(room: int, text: str) -> bytes:
    return json.dumps({"type": 1, "chatmessage": text, "chatuser": "robot", "chatroomId": room}).encode()


def settings_with_rabbitmq(database_url: str, stocks: StockService, **changed: Any) -> Settings:
    """Settings with names of their own, so that no other bot listens."""
    settings = settings_for(database_url, stock_url=stocks.url, stock_timeout_s=0.5, **changed)
    if settings.uses_memory_broker:
        pytest.skip("with AMQP_URL=memory: the bot is inside the server; there is no way to be without")
    return settings


async def delete_queues(settings: Settings) -> None:
    connection = await aiormq.connect(settings.amqp_url)
    channel = await connection.channel()
    for queue in (COMMAND_QUEUE, REPLY_QUEUE):
        await channel.queue_delete(settings.amqp_prefix + queue)
    await connection.close()


@contextlib.asynccontextmanager
async def serving_without_bot(
    database_url: str, stocks: StockService, **changed: Any
) -> AsyncIterator[tuple[InProcessServer, Settings]]:
    settings = settings_with_rabbitmq(database_url, stocks, **changed)
    try:
        async with serving(settings) as chat:
            yield chat, settings
    finally:
        await delete_queues(settings)


class Command(NamedTuple):
    """A command as a bot gets it."""

    line: str
    room: int
    chatuser: str
    correlation_id: str | None
    expiration: str | None


class ManualBot:
    """A bot whose replies the test writes, over a connection of its own. It declares its queues as durable."""

    DURABLE = True

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._commands: asyncio.Queue[Command] = asyncio.Queue()
        self._channel: AbstractChannel

    async def __aenter__(self) -> Self:
        self._connection = await aiormq.connect(self.settings.amqp_url)
        self._channel = await self._connection.channel()
        for queue in (COMMAND_QUEUE, REPLY_QUEUE):
            await self._channel.queue_declare(self.settings.amqp_prefix + queue, durable=self.DURABLE)
        await self._channel.basic_consume(self.settings.amqp_prefix + COMMAND_QUEUE, self._take, no_ack=True)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._connection.close()

    async def _take(self, message: DeliveredMessage) -> None:
        body, properties = json.loads(message.body), message.header.properties
        assert body.keys() == {"type", "chatmessage", "chatuser", "chatroomId"} and body["type"] == 1
        await self._commands.put(
            Command(
                body["chatmessage"],
                body["chatroomId"],
                body["chatuser"],
                properties.correlation_id,
                properties.expiration,
            )
        )

    async def next_command(self) -> Command:
        return await asyncio.wait_for(self._commands.get(), PATIENCE_S)

    async def reply(self, command: Command, text: str) -> None:
        await self.send(reply_for(command.room, text), command.correlation_id)

    async def send(self, body: bytes, correlation_id: str | None) -> None:
        await self._channel.basic_publish(
            body,
            routing_key=self.settings.amqp_prefix + REPLY_QUEUE,
            properties=spec.Basic.Properties(correlation_id=correlation_id),
        )


class OriginalRobot(ManualBot):
    """The original's robot: it declares both queues as not durable, and its replies have no correlation id."""

    DURABLE = False

    async def reply(self, command: Command, text: str) -> None:
        await self.send(reply_for(command.room, text), None)


@contextlib.asynccontextmanager
async def answering(bot: ManualBot, text: str = QUOTE) -> AsyncIterator[None]:
    """Run a bot that gives every command the same answer."""

    async def answer_all() -> None:
        while True:
            await bot.reply(await bot.next_command(), text)

    async with bot:
        task = asyncio.create_task(answer_all())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def asks(person: Person, line: str, room: int, **more: Any) -> Any:
    """Send a command until a bot is found, and return the answer."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            path = f"/v1/chat/rooms/{room}/messages"
            body = {"chatmessage": line, **more}
            async with person.chat.http.post(path, json=body, headers=person.headers) as response:
                if response.status == 202:
                    return await response.json()
                assert response.status == 503, await response.text()
            await asyncio.sleep(0.02)


@pytest.mark.parametrize(
    ("text", "is_one"),
    [
        ("/stock=AAPL.US", True),
        ("/stock=", True),
        ("/unknown=x", True),
        ("/stock", False),
        ("stock=AAPL.US", False),
        ("say /stock=AAPL.US", False),
        ("/stock=A\nB", False),
        ("/=x", False),
    ],
)
def test_a_command_is_one_line_of_the_form_name_argument(text: str, is_one: bool) -> None:
    assert is_command(text) is is_one


async def test_a_quote_is_answered_in_the_room_for_everybody(alice: Person, bob: Person) -> None:
    room = await alice.creates()
    await bob.joins(room)
    a, b = await alice.connects(), await bob.connects()
    await a.resume(room)
    await b.resume(room)
    request_id = unique("ask")
    await a.says("/stock=aapl.us", room, requestId=request_id)
    ack = await a.expect(type=13, requestId=request_id)
    assert "seq" not in ack and ack["duplicate"] is False
    for wire in (a, b):
        answer = await wire.hears("AAPL.US quote is $93.42 per share")
        assert (answer["chatuser"], answer["username"]) == ("robot", "robot")
        assert answer["seq"] == 3
        line = next(frame for frame in wire.heard if frame.get("chatmessage") == "/stock=aapl.us")
        assert "seq" not in line and line["chatuser"] == alice.email
    kinds = [(event["type"], event.get("chatmessage")) for event in await alice.events(room)]
    assert kinds == [(6, None), (5, None), (1, "AAPL.US quote is $93.42 per share")]


async def test_the_original_language_can_ask_too(alice: Person) -> None:
    wire = await alice.connects(v2=False)
    room = await alice.creates()
    await wire.says("/stock=MSFT.US", room, chatuser="me@example.com")
    for said in ("/stock=MSFT.US", "MSFT.US quote is $93.42 per share"):  # a quick bot may even be the first
        await eventually(lambda text: wire.has_heard(chatmessage=text), said)


async def test_by_rest_a_command_is_accepted_not_created(alice: Person) -> None:
    room = await alice.creates()
    wire = await alice.connects()
    await wire.resume(room)
    accepted = await alice.posts("/stock=n.d", room, status=202)
    assert accepted == {"chatroomId": room, "chatmessage": "/stock=n.d", "duplicate": False}
    await wire.hears("N.D quote is not available")


async def test_an_unknown_command_names_the_known_ones(alice: Person) -> None:
    answer = await alice.posts("/weather=Lima", status=400)
    assert answer["error"]["code"] == "unknown_command" and "/stock=" in answer["error"]["message"]
    wire = await alice.connects()
    request_id = unique("ask")
    await wire.says("/weather=Lima", requestId=request_id)
    await wire.errs("unknown_command", requestId=request_id)


async def test_a_command_joins_a_public_room_and_knows_the_unknown_ones(alice: Person, bob: Person) -> None:
    room = await alice.creates()
    await bob.posts("/stock=AAPL.US", room, status=202)
    assert (await bob.gets(f"/v1/chat/rooms/{room}"))["isMember"] is True
    await bob.posts("/stock=AAPL.US", 999_999, status=404)


async def test_the_same_command_again_is_asked_once(alice: Person, stocks: StockService) -> None:
    room = await alice.creates()
    wire = await alice.connects()
    await wire.resume(room)
    request_id = unique("ask")
    code = unique("TWICE").upper()
    for _ in range(3):
        await wire.says(f"/stock={code}", room, requestId=request_id)
    acks = [await wire.expect(type=13, requestId=request_id) for _ in range(3)]
    assert [ack["duplicate"] for ack in acks] == [False, True, True]
    quote = f"{code} quote is $93.42 per share"
    await eventually(lambda: quote in [frame.get("chatmessage") for frame in wire.heard])
    again = await alice.posts(f"/stock={code}", room, status=202, requestId=request_id)
    assert again["duplicate"] is True
    await wire.says("/stock=other", room, requestId=request_id)
    await wire.errs("request_id_reused", requestId=request_id)
    await alice.posts("a message", room, status=409, requestId=request_id)
    assert stocks.asked.count(code.lower()) == 1
    assert len(said_by_robot(await alice.events(room))) == 1


async def test_a_message_and_a_command_do_not_share_a_request_id(alice: Person) -> None:
    room = await alice.creates()
    request_id = unique("both")
    await alice.posts("a message", room, requestId=request_id)
    await alice.posts("/stock=AAPL.US", room, status=409, requestId=request_id)


async def test_without_a_bot_the_asker_is_told_at_once(database_url: str, stocks: StockService) -> None:
    async with serving_without_bot(database_url, stocks) as (chat, settings):
        asker = await chat.sign_up()
        room = await asker.creates()
        wire = await asker.connects()
        await wire.resume(room)
        request_id = unique("ask")
        await wire.says("/stock=AAPL.US", room, requestId=request_id)
        error = await wire.errs("unavailable", requestId=request_id)
        assert error["retryMs"] > 0
        async with running_bot(settings):
            # It was certainly not asked, so the same requestId may ask again.
            assert (await asks(asker, "/stock=AAPL.US", room, requestId=request_id))["duplicate"] is False
            await wire.hears(QUOTE)
        assert said_by_robot(await asker.events(room)) == [QUOTE]


async def test_a_reply_that_the_broker_repeats_is_said_once(database_url: str, stocks: StockService) -> None:
    async with serving_without_bot(database_url, stocks) as (chat, settings), ManualBot(settings) as bot:
        asker = await chat.sign_up()
        room = await asker.creates()
        wire = await asker.connects()
        await wire.resume(room)
        await asker.posts("/stock=X", room, status=202)
        command = await bot.next_command()
        assert (command.line, command.chatuser, command.room) == ("/stock=X", asker.email, room)
        for text in ("first", "second", "third"):
            await bot.reply(command, text)
        await wire.hears("first")
        await asker.posts("/stock=Y", room, status=202)
        await bot.reply(await bot.next_command(), "of Y")
        await wire.hears("of Y")
        assert said_by_robot(await asker.events(room)) == ["first", "of Y"]


@pytest.mark.slow
async def test_after_the_deadline_the_room_is_told_and_the_late_reply_is_not(
    database_url: str, stocks: StockService
) -> None:
    async with (
        serving_without_bot(database_url, stocks, command_timeout_s=0.3) as (chat, settings),
        ManualBot(settings) as bot,
    ):
        asker = await chat.sign_up()
        room = await asker.creates()
        wire = await asker.connects()
        await wire.resume(room)
        await asker.posts("/stock=LATE", room, status=202)
        command = await bot.next_command()
        assert command.expiration == "300"
        assert (await wire.hears(STOCK_UNAVAILABLE))["username"] == "robot"
        await bot.reply(command, "too late")
        await asker.posts("/stock=NEXT", room, status=202)
        await bot.reply(await bot.next_command(), "next")
        await wire.hears("next")
        assert said_by_robot(await asker.events(room)) == [STOCK_UNAVAILABLE, "next"]


@pytest.mark.slow
async def test_a_bot_killed_between_taking_and_answering_leaves_it_to_the_next(
    database_url: str, stocks: StockService
) -> None:
    async with serving_without_bot(database_url, stocks) as (chat, settings):
        slow = replace(settings, stock_timeout_s=30.0)
        asker = await chat.sign_up()
        room = await asker.creates()
        wire = await asker.connects()
        await wire.resume(room)
        async with process("bot", slow) as bot:
            before = stocks.asked.count("hangs")
            await asks(asker, "/stock=HANGS", room)
            await eventually(lambda: stocks.asked.count("hangs") > before)
            bot.signal(signal.SIGKILL)
            await bot.ended()
        async with running_bot(settings):
            await wire.hears(STOCK_UNAVAILABLE)
        assert said_by_robot(await asker.events(room)) == [STOCK_UNAVAILABLE]


@pytest.mark.slow
async def test_an_asker_whose_server_is_killed_is_answered_by_another(database_url: str, stocks: StockService) -> None:
    async with serving_without_bot(database_url, stocks) as (chat, settings), ManualBot(settings) as bot:
        asker = await chat.sign_up()
        room = await asker.creates()
        watcher = await asker.connects()
        await watcher.resume(room)
        async with process("serve", settings) as other:
            async with other.client() as there:
                path = f"/v1/chat/rooms/{room}/messages"
                await there.asks("POST", path, {"chatmessage": "/stock=Z"}, 202, headers=asker.headers)
            command = await bot.next_command()
            other.signal(signal.SIGKILL)
            await other.ended()
        await bot.reply(command, "Z is fine")
        await watcher.hears("Z is fine")
        assert said_by_robot(await asker.events(room)) == ["Z is fine"]


@pytest.mark.slow
async def test_an_unstorable_or_nonsensical_reply_is_dropped_and_the_deadline_speaks(
    database_url: str, stocks: StockService
) -> None:
    async with (
        serving_without_bot(database_url, stocks, command_timeout_s=0.5) as (chat, settings),
        ManualBot(settings) as bot,
    ):
        asker = await chat.sign_up()
        room = await asker.creates()
        wire = await asker.connects()
        await wire.resume(room)
        await asker.posts("/stock=ODD", room, status=202)
        command = (await bot.next_command()).correlation_id
        for body in (b"", b"\xff", b"[]", b'{"type":17,"chatroomId":1,"messageNo":1}', reply_for(room, "a\x00b")):
            await bot.send(body, command)
        await bot.send(reply_for(room, "no such command"), "not-a-number")
        await bot.send(reply_for(room, "no such command"), "999999")
        for _ in range(20):  # more than the broker hands out at once: none may stand in the way
            await bot.send(reply_for(room, "no such number"), "9" * 30)
        await wire.hears(STOCK_UNAVAILABLE)
        assert said_by_robot(await asker.events(room)) == [STOCK_UNAVAILABLE]


# --- bots and their queues ----------------------------------------------------------------------------


RunBot = Callable[[Settings], contextlib.AbstractAsyncContextManager[None]]
each_bot = pytest.mark.parametrize(
    "run_bot",
    [running_bot, lambda settings: answering(OriginalRobot(settings)), lambda settings: answering(ManualBot(settings))],
    ids=["our bot", "the original's robot", "a durable bot"],
)


async def is_answered(asker: Person, room: int) -> None:
    """Ask, and hear the answer."""
    before = said_by_robot(await asker.events(room))
    await asks(asker, "/stock=AAPL.US", room)
    async with asyncio.timeout(PATIENCE_S):
        while (now := said_by_robot(await asker.events(room))) == before:
            await asyncio.sleep(0.02)
    assert now == [*before, QUOTE]


@each_bot
async def test_a_bot_that_starts_before_the_server_is_served(
    database_url: str, stocks: StockService, run_bot: RunBot
) -> None:
    settings = settings_with_rabbitmq(database_url, stocks)
    async with run_bot(settings), serving(settings) as chat:
        asker = await chat.sign_up()
        await is_answered(asker, await asker.creates())
    await delete_queues(settings)


@each_bot
async def test_a_bot_that_starts_after_the_server_is_served(
    database_url: str, stocks: StockService, run_bot: RunBot
) -> None:
    async with serving_without_bot(database_url, stocks) as (chat, settings):
        asker = await chat.sign_up()
        room = await asker.creates()
        await asker.posts("/stock=AAPL.US", room, status=503)
        async with run_bot(settings):
            await is_answered(asker, room)


async def test_bots_are_exchanged_for_one_another_while_the_server_runs(
    database_url: str, stocks: StockService
) -> None:
    async with serving_without_bot(database_url, stocks) as (chat, settings):
        asker = await chat.sign_up()
        room = await asker.creates()
        for _ in range(2):
            async with running_bot(settings):
                await is_answered(asker, room)
            await delete_queues(settings)  # else the original's robot is refused with 406
            async with answering(OriginalRobot(settings)):
                await is_answered(asker, room)
            async with running_bot(settings):  # which uses the other one's queues
                await is_answered(asker, room)
            await delete_queues(settings)
            async with answering(ManualBot(settings)):
                await is_answered(asker, room)
            # It leaves durable queues, as our bot declares them.


@pytest.mark.slow
async def test_a_command_for_a_bot_that_has_just_vanished_has_one_outcome(
    database_url: str, stocks: StockService, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server believes for up to a second that the bot is there."""
    async with serving_without_bot(database_url, stocks, command_timeout_s=1.0) as (chat, settings):
        asker = await chat.sign_up()
        room = await asker.creates()
        async with answering(ManualBot(settings)):
            monkeypatch.setattr(rabbitmq, "CONSUMER_CHECK_S", 60.0)  # the second never ends
            await is_answered(asker, room)

        wire = await asker.connects()
        await wire.resume(room)
        await asker.posts("/stock=AAPL.US", room, status=202)  # it waits in the queue, until its deadline
        await wire.hears(STOCK_UNAVAILABLE)
        assert said_by_robot(await asker.events(room)) == [QUOTE, STOCK_UNAVAILABLE]

        await delete_queues(settings)
        request_id = unique("ask")
        await asker.posts("/stock=AAPL.US", room, status=503, requestId=request_id)
        async with answering(ManualBot(settings)):  # nothing was recorded, so it can be asked anew
            answer = await asker.posts("/stock=AAPL.US", room, status=202, requestId=request_id)
            assert answer["duplicate"] is False
            await wire.hears(QUOTE)
        assert said_by_robot(await asker.events(room)) == [QUOTE, STOCK_UNAVAILABLE, QUOTE]


async def test_a_bot_that_appears_takes_what_waits_in_the_queue(
    database_url: str, stocks: StockService, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving_without_bot(database_url, stocks) as (chat, settings):
        asker = await chat.sign_up()
        room = await asker.creates()
        async with answering(ManualBot(settings)):
            monkeypatch.setattr(rabbitmq, "CONSUMER_CHECK_S", 60.0)
            await is_answered(asker, room)
        await asker.posts("/stock=AAPL.US", room, status=202)
        wire = await asker.connects()
        await wire.resume(room)
        async with answering(ManualBot(settings), "AAPL.US by the next bot"):
            await wire.hears("AAPL.US by the next bot")
        assert said_by_robot(await asker.events(room)) == [QUOTE, "AAPL.US by the next bot"]


async def test_replies_without_a_correlation_id_answer_the_open_commands_in_their_order(
    database_url: str, stocks: StockService
) -> None:
    async with serving_without_bot(database_url, stocks) as (chat, settings), OriginalRobot(settings) as robot:
        first, second = await chat.sign_up(), await chat.sign_up()
        rooms = [await first.creates(), await first.creates()]
        wire = await first.connects()
        for asker, room in zip((first, second), rooms, strict=True):
            await wire.resume(room)
            for code in ("ONE", "TWO"):
                await asker.posts(f"/stock={code}", room, status=202)
        for _ in range(4):
            command = await robot.next_command()
            await robot.reply(command, f"answer to {command.line}")
        for room in rooms:
            await wire.hears("answer to /stock=TWO", chatroomId=room)
            assert said_by_robot(await first.events(room)) == ["answer to /stock=ONE", "answer to /stock=TWO"]
        await robot.send(reply_for(rooms[1], "nobody asked"), None)
        await first.posts("/stock=LAST", rooms[0], status=202)
        await robot.reply(await robot.next_command(), "answer to LAST")
        await wire.hears("answer to LAST")
        assert "nobody asked" not in said_by_robot(await first.events(rooms[1]))


# --- the outcome --------------------------------------------------------------------------------------


class PatientBroker(MemoryBroker):
    """Says that a bot listens, and keeps the commands."""

    def __init__(self) -> None:
        super().__init__()
        self.commands: list[QueueMessage] = []

    async def has_consumers(self, queue: str) -> bool:
        return True

    async def enqueue(self, queue: str, message: QueueMessage, *, expires_s: float) -> None:
        self.commands.append(message)


class Process:
    """The slash commands of one process, without its connections and without a bot."""

    def __init__(self, db: Database, writer: EventWriter) -> None:
        self.broker = PatientBroker()
        self.writer = writer
        self._db = db
        self._commands = self._with_timeout(600.0)

    def _with_timeout(self, timeout_s: float) -> SlashCommands:
        return SlashCommands(
            self._db, self.writer, self.broker, Notifier(self.broker), timeout_s=timeout_s, write_timeout_s=5.0
        )

    async def ask(self, person: Person, line: str, room: int, request_id: str | None = None) -> bool:
        return await self._commands.run(Identity(person.id, person.username, person.email, 0), room, line, request_id)

    async def reply(self, room: int, text: str, correlation_id: str | None = None) -> None:
        await self._commands.on_reply(QueueMessage(reply_for(room, text), correlation_id))

    async def expire_all(self) -> None:
        """Close every open command, as if its time were up."""
        await self._with_timeout(0.0).expire()


@contextlib.asynccontextmanager
async def own_process(database_url: str, *, reply_timeout_s: float = 5.0) -> AsyncIterator[Process]:
    broker, db, writers_db = MemoryBroker(), *(Database(database_url, size=4, name="test") for _ in range(2))
    await db.open()
    await writers_db.open()
    writer = EventWriter(writers_db, Notifier(broker), timeout_s=reply_timeout_s, queue_limit=10_000)
    writer.open()
    try:
        yield Process(db, writer)
    finally:
        await writer.close()
        await writers_db.close()
        await db.close()


@pytest.fixture
async def server(database_url: str) -> AsyncIterator[Process]:
    async with own_process(database_url) as server:
        yield server


async def outcomes(person: Person, room: int) -> list[str]:
    return said_by_robot(await person.events(room))


async def test_a_late_reply_does_not_become_the_answer_to_the_next_command(
    server: Process, alice: Person, caplog: pytest.LogCaptureFixture
) -> None:
    room = await alice.creates()
    await server.ask(alice, "/stock=AAPL.US", room)
    await server.expire_all()
    await server.ask(alice, "/stock=MSFT.US", room)
    with caplog.at_level(logging.INFO, logger="chat.domain.slash_commands"):
        await server.reply(room, "AAPL.US quote is $93.42 per share")
    assert "dropped" in caplog.text
    await server.reply(room, "msft.us quote is $1 per share")
    assert await outcomes(alice, room) == [STOCK_UNAVAILABLE, "msft.us quote is $1 per share"]


@pytest.mark.parametrize(
    ("line", "text", "answers"),
    [
        ("/stock=msft.us", "MSFT.US quote is $1 per share", True),
        ("/stock= MSFT.US ", "MSFT.US: $1", True),
        ("/stock=MSFT.US", "MSFT.US", True),
        ("/stock=MSFT.US", "MSFT.US.", True),
        ("/stock=^SPX", "^SPX quote is $1", True),
        ("/stock=A", "A quote is $1", True),
        ("/stock=A", "A.US quote is $1", False),
        ("/stock=A", "AAPL.US quote is $1", False),
        ("/stock=BRK", "BRK-B.US quote is $1", False),
        ("/stock=MSFT_US", "MSFT.US quote is $1", False),
        ("/stock=MSFT%US", "MSFT.US quote is $1", False),
        ("/stock=M.*", "MSFT.US quote is $1", False),
        ("/stock=MSFT.US", "The quote of MSFT.US is $1", False),
        ("/stock=MSFT.US", "MSFT", False),
        ("/stock=", "MSFT.US quote is $1", False),
    ],
)
async def test_beside_an_expired_command_a_reply_must_begin_with_the_code_of_the_command_that_it_settles(
    server: Process, alice: Person, line: str, text: str, answers: bool
) -> None:
    room = await alice.creates()
    await server.ask(alice, "/stock=EXPIRED", room)
    await server.expire_all()
    await server.ask(alice, line, room)
    await server.reply(room, text)
    assert await outcomes(alice, room) == [STOCK_UNAVAILABLE] + [text] * answers


async def test_beside_an_expired_command_each_reply_finds_the_oldest_open_one_with_its_code(
    server: Process, alice: Person, bob: Person
) -> None:
    room = await alice.creates()
    await server.ask(alice, "/stock=EXPIRED", room)
    await server.expire_all()
    for person, code in ((alice, "ONE"), (alice, "TWO"), (bob, "TWO")):
        await server.ask(person, f"/stock={code}", room)
    ids = [message.correlation_id for message in server.broker.commands]
    await server.reply(room, "TWO quote is $2")
    await server.reply(room, "it was the first one that asked for TWO", ids[2])
    await server.reply(room, "anything, with its id", ids[3])
    await server.reply(room, "TWO is asked by nobody any more")
    await server.reply(room, "ONE quote is $1")
    assert await outcomes(alice, room) == [
        STOCK_UNAVAILABLE,
        "TWO quote is $2",
        "anything, with its id",
        "ONE quote is $1",
    ]


async def test_a_command_that_expired_in_another_room_or_long_ago_is_no_obstacle(
    server: Process, alice: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    room, other = await alice.creates(), await alice.creates()
    await server.ask(alice, "/stock=EXPIRED", other)
    await server.expire_all()
    await server.ask(alice, "/stock=ONE", room)
    await server.reply(room, "of whichever form")
    await server.ask(alice, "/stock=TWO", other)
    await server.reply(other, "of whichever form")
    monkeypatch.setattr(slash_commands, "LATE_REPLY_S", 0.0)
    await server.reply(other, "a minute later")
    assert await outcomes(alice, room) == ["of whichever form"]
    assert await outcomes(alice, other) == [STOCK_UNAVAILABLE, "a minute later"]


async def test_a_repeated_write_of_a_reply_answers_no_second_command(server: Process, alice: Person) -> None:
    room = await alice.creates()
    for code in ("ONE", "TWO"):
        await server.ask(alice, f"/stock={code}", room)
    same = unique("write")
    for _ in range(2):  # as the writer does when PostgreSQL's answer is lost
        await server.writer.run(
            "commands/settle", request_id=same, command_id=None, room_id=room, late_s=60.0, body="answer"
        )
    await server.expire_all()
    assert await outcomes(alice, room) == ["answer", STOCK_UNAVAILABLE]


async def test_a_reply_without_an_id_does_not_come_again_while_its_write_is_repeated(
    database_url: str, proxy: Proxy, server: Process, alice: Person
) -> None:
    room = await alice.creates()
    for code in ("ONE", "TWO"):
        await server.ask(alice, f"/stock={code}", room)
    async with own_process(proxy.instead_of(database_url), reply_timeout_s=0.2) as other:
        proxy.hold()
        await other.reply(room, "answer")  # raises nothing, so the broker does not keep it
        assert await outcomes(alice, room) == []
        proxy.release()
        async with asyncio.timeout(PATIENCE_S):
            while not await outcomes(alice, room):
                await asyncio.sleep(0.02)
    await server.expire_all()
    assert await outcomes(alice, room) == ["answer", STOCK_UNAVAILABLE]


async def test_a_reply_is_acked_only_when_it_is_stored(database_url: str) -> None:
    """A reply that cannot be stored now must come again: `on_reply` raises, and the broker keeps it."""
    async with own_process(database_url) as server:
        pass
    with pytest.raises(Unavailable, match="stopping"):
        await server.reply(GENERAL, "kept", "1")


async def test_three_commands_of_a_user_may_be_open(server: Process, alice: Person, bob: Person) -> None:
    rooms = [await alice.creates(), await alice.creates()]
    for number in range(3):
        await server.ask(alice, "/stock=X", rooms[number % 2], f"ask-{number}")
    for room in rooms:
        with pytest.raises(Unavailable, match="wait for their answers") as caught:
            await server.ask(alice, "/stock=X", room, "ask-3")
        assert (caught.value.code, caught.value.status) == ("busy", 503)
    assert await server.ask(alice, "/stock=X", rooms[0], "ask-0") is True, "a repeat is not a fourth one"
    await server.ask(bob, "/stock=X", rooms[0])
    await server.reply(rooms[0], "answer")
    assert await server.ask(alice, "/stock=X", rooms[0], "ask-3") is False, "it was not recorded before"
    assert len(server.broker.commands) == 5
    await server.expire_all()


async def test_the_limit_holds_over_several_processes(server: Process, database_url: str, alice: Person) -> None:
    room = await alice.creates()
    async with own_process(database_url) as other:
        asked = await asyncio.gather(
            *(process.ask(alice, "/stock=X", room) for _ in range(4) for process in (server, other)),
            return_exceptions=True,
        )
        assert asked.count(False) == 3
        codes = [error.code for error in asked if isinstance(error, Unavailable)]
        assert codes == ["busy"] * 5
        assert len(server.broker.commands) + len(other.broker.commands) == 3
    await server.expire_all()


async def test_a_user_with_three_open_commands_is_told_busy_over_rest_and_websocket(
    database_url: str, stocks: StockService
) -> None:
    async with serving_without_bot(database_url, stocks) as (chat, settings):
        asker = await chat.sign_up()
        room = await asker.creates()
        async with ManualBot(settings):
            for _ in range(3):
                await asks(asker, "/stock=X", room)
            answer = await asker.posts("/stock=X", room, status=503)
            assert answer["error"]["code"] == "busy"
            wire = await asker.connects()
            await wire.says("/stock=X", room, requestId=unique("ask"))
            assert (await wire.errs("busy"))["retryMs"] > 0


async def test_all_overdue_commands_are_closed_at_once_however_many_there_are(
    server: Process, alice: Person, bob: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slash_commands, "EXPIRE_BATCH", 2)
    await server.expire_all()
    rooms = [await alice.creates(), await alice.creates()]
    for number in range(3):
        for person in (alice, bob):
            await server.ask(person, "/stock=X", rooms[number % 2])
    await server.expire_all()
    assert [await outcomes(alice, room) for room in rooms] == [[STOCK_UNAVAILABLE] * 4, [STOCK_UNAVAILABLE] * 2]
    await server.expire_all()
    assert [len(await outcomes(alice, room)) for room in rooms] == [4, 2]


async def test_two_processes_close_each_overdue_command_once(
    server: Process, database_url: str, alice: Person, bob: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slash_commands, "EXPIRE_BATCH", 1)
    rooms = [await alice.creates(), await alice.creates()]
    for number in range(3):
        for person in (alice, bob):
            await server.ask(person, "/stock=X", rooms[number % 2])
    async with own_process(database_url) as other:
        await asyncio.gather(server.expire_all(), other.expire_all())
    await server.expire_all()  # what was locked by the other one
    assert [len(await outcomes(alice, room)) for room in rooms] == [4, 2]


async def test_a_locked_room_does_not_hold_up_the_commands_of_others(
    server: Process, database_url: str, alice: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slash_commands, "EXPIRE_BATCH", 1)
    await server.expire_all()
    locked, free = await alice.creates(), await alice.creates()
    for room in (locked, free, free):
        await server.ask(alice, "/stock=X", room)
    with contextlib.closing(await asyncio.to_thread(psycopg2.connect, database_url)) as other:
        with other.cursor() as cursor:
            cursor.execute("SELECT id FROM rooms WHERE id = %s FOR NO KEY UPDATE", (locked,))
        await server.expire_all()
        assert await outcomes(alice, free) == [STOCK_UNAVAILABLE] * 2
        assert await outcomes(alice, locked) == []
    await server.expire_all()
    assert await outcomes(alice, locked) == [STOCK_UNAVAILABLE]


@pytest.mark.timing
async def test_a_flood_of_overdue_commands_is_closed_within_a_second(
    server: Process, database_url: str, alice: Person
) -> None:
    rooms = [await alice.creates() for _ in range(50)]
    insert = """
        INSERT INTO commands (room_id, user_id, request_id, line)
        SELECT room, %(user_id)s, 'flood-' || n, '/stock=X'
        FROM unnest(%(rooms)s) AS room, generate_series(1, 100) AS n
    """
    connection = await asyncio.to_thread(psycopg2.connect, database_url)
    with contextlib.closing(connection), connection, connection.cursor() as cursor:
        cursor.execute(insert, {"user_id": alice.id, "rooms": rooms})
    started = time.monotonic()
    await server.expire_all()
    took_s = time.monotonic() - started
    assert [len(await outcomes(alice, room)) for room in rooms] == [100] * 50
    assert took_s < 1.0 - lifecycle.EXPIRE_INTERVAL_S


class UnhelpfulBroker(PatientBroker):
    """Says that a bot listens, and then certainly sends nothing."""

    async def enqueue(self, queue: str, message: QueueMessage, *, expires_s: float) -> None:
        raise Unavailable("nobody listens to this")


class CancelDatabase(Database):
    """A database in which cancelling a command ends as the test says."""

    def __init__(self, url: str, outcome: int | Exception | None) -> None:
        super().__init__(url, size=1, name="test")
        self._outcome = outcome

    async def fetch_value(self, name: str, type_: type[Any], /, **params: Any) -> Any:
        assert name == "commands/cancel"
        if isinstance(self._outcome, Exception):
            raise self._outcome
        return self._outcome


@pytest.mark.parametrize(
    ("outcome", "expected"),
    [(1, Unavailable), (None, None), (Unreachable(), OutcomeUnknown), (StatementTimeout(), OutcomeUnknown)],
    ids=["cancelled", "settled before", "no connection", "no answer"],
)
async def test_a_command_that_may_stand_in_its_table_is_not_told_as_certainly_not_asked(
    database_url: str,
    chat: InProcessServer,
    alice: Person,
    outcome: int | Exception | None,
    expected: type[Exception] | None,
) -> None:
    """Left in its table, it gets its outcome in the room when its time is up."""
    db = CancelDatabase(database_url, outcome)
    await db.open()
    broker = UnhelpfulBroker()
    commands = SlashCommands(db, chat.app[app_keys.WRITER], broker, Notifier(broker), timeout_s=10, write_timeout_s=5)
    identity = Identity(alice.id, alice.username, alice.email, 0)
    room = await alice.creates()
    try:
        with contextlib.nullcontext() if expected is None else pytest.raises(expected):
            assert await commands.run(identity, room, "/stock=AAPL.US", None) is False
    finally:
        await db.close()
