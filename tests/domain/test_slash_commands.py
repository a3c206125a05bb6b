"""chat/domain/slash_commands.py: one command, one visible outcome, whatever happens to anybody in it."""

import asyncio
import contextlib
import json
import signal
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import aiormq
import pytest
from aiormq import spec

from chat.auth.tokens import Identity
from chat.broker.base import QueueMessage
from chat.broker.memory import MemoryBroker
from chat.config import Settings
from chat.db.errors import StatementTimeout, Unreachable
from chat.domain.slash_commands import SlashCommands, is_command
from chat.errors import OutcomeUnknown, Unavailable
from chat.http import app_keys as keys
from chat.protocol.bot_queues import COMMAND_QUEUE, REPLY_QUEUE, STOCK_UNAVAILABLE
from tests.support.client import GENERAL, Person
from tests.support.names import unique
from tests.support.server import InProcessServer, process, running_bot, serving
from tests.support.settings import settings_for
from tests.support.stock_service import StockService
from tests.support.waiting import eventually

pytestmark = pytest.mark.timeout(60)


def said_by_robot(events: list[dict[str, Any]]) -> list[str]:
    return [event["chatmessage"] for event in events if event.get("username") == "robot"]


def reply_for(room: int, text: str) -> bytes:
    return json.dumps({"type": 1, "chatmessage": text, "chatuser": "robot", "chatroomId": room}).encode()


@contextlib.asynccontextmanager
async def without_robot(database_url: str, stocks: StockService, **changed: Any) -> AsyncIterator[InProcessServer]:
    """A server with broker names of its own, to which no robot listens yet."""
    settings = settings_for(database_url, stock_url=stocks.url, stock_timeout_s=0.5, **changed)
    if settings.uses_memory_broker:
        pytest.skip("AMQP_URL=memory: has the robot inside; there is no way to be without")
    async with serving(settings) as chat:
        yield chat


class HandRobot:
    """A robot that the test plays by hand, over a connection of its own."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.taken: asyncio.Queue[Any] = asyncio.Queue()

    async def __aenter__(self) -> "HandRobot":
        self._connection = await aiormq.connect(self.settings.amqp_url)
        self.channel = await self._connection.channel()
        await self._declare()

        async def take(message: Any) -> None:
            await self.taken.put(message)

        await self.channel.basic_consume(self.settings.amqp_prefix + COMMAND_QUEUE, take)
        return self

    async def _declare(self) -> None:
        # The server has declared its out-tray only; the in-tray is the robot's.
        await self.channel.queue_declare(self.settings.amqp_prefix + COMMAND_QUEUE, durable=True)

    async def __aexit__(self, *_: object) -> None:
        await self._connection.close()

    async def asked(self) -> Any:
        return await asyncio.wait_for(self.taken.get(), 10)

    async def says(self, body: bytes, correlation_id: str | None) -> None:
        await self.channel.basic_publish(
            body,
            routing_key=self.settings.amqp_prefix + REPLY_QUEUE,
            properties=spec.Basic.Properties(correlation_id=correlation_id),
        )


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
    for said in ("/stock=MSFT.US", "MSFT.US quote is $93.42 per share"):  # a quick robot may even be the first
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


async def test_a_message_and_a_command_do_not_share_a_client_id(alice: Person) -> None:
    room = await alice.creates()
    request_id = unique("both")
    await alice.posts("a message", room, requestId=request_id)
    await alice.posts("/stock=AAPL.US", room, status=409, requestId=request_id)


async def test_without_a_robot_the_asker_is_told_at_once(database_url: str, stocks: StockService) -> None:
    async with without_robot(database_url, stocks) as chat:
        asker = await chat.sign_up()
        room = await asker.creates()
        wire = await asker.connects()
        await wire.resume(room)
        request_id = unique("ask")
        await wire.says("/stock=AAPL.US", room, requestId=request_id)
        error = await wire.errs("unavailable", requestId=request_id)
        assert error["retryMs"] > 0
        async with running_bot(chat.app[keys.SETTINGS]):
            # It was certainly not asked, so the same requestId may ask again.
            await wire.says("/stock=AAPL.US", room, requestId=request_id)
            assert (await wire.expect(type=13, requestId=request_id))["duplicate"] is False
            await wire.hears("AAPL.US quote is $93.42 per share")
        assert len(said_by_robot(await asker.events(room))) == 1


async def test_a_reply_that_the_broker_repeats_is_said_once(database_url: str, stocks: StockService) -> None:
    async with without_robot(database_url, stocks) as chat, HandRobot(chat.app[keys.SETTINGS]) as robot:
        asker = await chat.sign_up()
        room = await asker.creates()
        wire = await asker.connects()
        await wire.resume(room)
        await asker.posts("/stock=X", room, status=202)
        message = await robot.asked()
        asked = json.loads(message.body)
        assert asked == {"type": 1, "chatmessage": "/stock=X", "chatuser": asker.email, "chatroomId": room}
        command = message.header.properties.correlation_id
        for text in ("first", "second", "third"):
            await robot.says(reply_for(room, text), command)
        await wire.hears("first")
        await asker.posts("/stock=Y", room, status=202)
        await robot.says(reply_for(room, "of Y"), (await robot.asked()).header.properties.correlation_id)
        await wire.hears("of Y")
        assert said_by_robot(await asker.events(room)) == ["first", "of Y"]


@pytest.mark.slow
async def test_after_the_deadline_the_room_is_told_and_the_late_reply_is_not(
    database_url: str, stocks: StockService
) -> None:
    quick = {"command_timeout_s": 0.3}
    async with (
        without_robot(database_url, stocks, **quick) as chat,
        HandRobot(chat.app[keys.SETTINGS]) as robot,
    ):
        asker = await chat.sign_up()
        room = await asker.creates()
        wire = await asker.connects()
        await wire.resume(room)
        await asker.posts("/stock=LATE", room, status=202)
        message = await robot.asked()
        assert message.header.properties.expiration == "300"
        from_server = await wire.hears("Stock service is not available")
        assert from_server["username"] == "robot"
        await robot.says(reply_for(room, "too late"), message.header.properties.correlation_id)
        await asker.posts("/stock=NEXT", room, status=202)
        await robot.says(reply_for(room, "next"), (await robot.asked()).header.properties.correlation_id)
        await wire.hears("next")
        assert said_by_robot(await asker.events(room)) == [stocks_down(), "next"]


def stocks_down() -> str:
    return STOCK_UNAVAILABLE


@pytest.mark.slow
async def test_a_robot_killed_between_taking_and_answering_leaves_it_to_the_next(
    database_url: str, stocks: StockService
) -> None:
    async with without_robot(database_url, stocks) as chat:
        settings = chat.app[keys.SETTINGS]
        slow = replace(settings, stock_timeout_s=30.0)
        asker = await chat.sign_up()
        room = await asker.creates()
        wire = await asker.connects()
        await wire.resume(room)
        async with process("bot", slow) as robot:
            before = stocks.asked.count("hangs")
            await asker.posts("/stock=HANGS", room, status=202)
            await eventually(lambda: stocks.asked.count("hangs") > before)
            robot.signal(signal.SIGKILL)
            await robot.ended()
        async with running_bot(settings):
            await wire.hears("Stock service is not available")
        assert said_by_robot(await asker.events(room)) == [stocks_down()]


@pytest.mark.slow
async def test_an_asker_whose_server_is_killed_is_answered_by_another(database_url: str, stocks: StockService) -> None:
    async with (
        without_robot(database_url, stocks) as chat,
        HandRobot(chat.app[keys.SETTINGS]) as robot,
    ):
        settings = chat.app[keys.SETTINGS]
        asker = await chat.sign_up()
        room = await asker.creates()
        watcher = await asker.connects()
        await watcher.resume(room)
        async with process("serve", settings) as other:
            async with other.client() as there:
                path = f"/v1/chat/rooms/{room}/messages"
                await there.asks("POST", path, {"chatmessage": "/stock=Z"}, 202, headers=asker.headers)
            message = await robot.asked()
            other.signal(signal.SIGKILL)
            await other.ended()
        await robot.says(reply_for(room, "Z is fine"), message.header.properties.correlation_id)
        await watcher.hears("Z is fine")
        assert said_by_robot(await asker.events(room)) == ["Z is fine"]


@pytest.mark.slow
async def test_an_unstorable_or_nonsensical_reply_is_dropped_and_the_deadline_speaks(
    database_url: str, stocks: StockService
) -> None:
    quick = {"command_timeout_s": 0.5}
    async with (
        without_robot(database_url, stocks, **quick) as chat,
        HandRobot(chat.app[keys.SETTINGS]) as robot,
    ):
        asker = await chat.sign_up()
        room = await asker.creates()
        wire = await asker.connects()
        await wire.resume(room)
        await asker.posts("/stock=ODD", room, status=202)
        command = (await robot.asked()).header.properties.correlation_id
        for body in (b"", b"\xff", b"[]", b'{"type":17,"chatroomId":1,"messageNo":1}', reply_for(room, "a\x00b")):
            await robot.says(body, command)
        await robot.says(reply_for(room, "no such command"), "not-a-number")
        await robot.says(reply_for(room, "no such command"), "999999")
        for _ in range(20):  # more than the broker hands out at once: none may stand in the way
            await robot.says(reply_for(room, "no such number"), "9" * 30)
        await wire.hears(stocks_down())
        assert said_by_robot(await asker.events(room)) == [stocks_down()]


class OlderRobot(HandRobot):
    """A robot as it was before: transient queues, and no correlation_id in its answers."""

    async def _declare(self) -> None:
        for queue in (COMMAND_QUEUE, REPLY_QUEUE):
            await self.channel.queue_declare(self.settings.amqp_prefix + queue, durable=False)


async def test_an_older_robot_is_served(database_url: str, stocks: StockService) -> None:
    transient = {"robot_queues_durable": False}
    async with (
        without_robot(database_url, stocks, **transient) as chat,
        OlderRobot(chat.app[keys.SETTINGS]) as robot,
    ):
        asker = await chat.sign_up()
        rooms = [await asker.creates(), await asker.creates()]
        wire = await asker.connects()
        for room in rooms:
            await wire.resume(room)
            for code in ("ONE", "TWO"):
                await asker.posts(f"/stock={code}", room, status=202)
        for _ in range(4):
            asked = json.loads((await robot.asked()).body)
            code = asked["chatmessage"].split("=")[1]
            await robot.says(reply_for(asked["chatroomId"], f"answer to {code}"), None)
        for room in rooms:
            await wire.hears("answer to TWO", chatroomId=room)
            assert said_by_robot(await asker.events(room)) == ["answer to ONE", "answer to TWO"]
        await robot.says(reply_for(rooms[1], "nobody asked"), None)
        await asker.posts("/stock=LAST", rooms[0], status=202)
        await robot.asked()
        await robot.says(reply_for(rooms[0], "answer to LAST"), None)
        await wire.hears("answer to LAST")
        assert "nobody asked" not in said_by_robot(await asker.events(rooms[1]))


async def test_a_reply_is_acked_only_when_it_is_stored(chat: InProcessServer, alice: Person) -> None:
    """A letter that cannot be stored now must come again: `reply` raises, and the broker keeps it."""
    assert chat.app is not None
    journal, commands = chat.app[keys.WRITER], chat.app[keys.SLASH_COMMANDS]
    journal._closing = True
    try:
        with pytest.raises(Exception, match="stopping"):
            await commands.on_reply(QueueMessage(reply_for(1, "kept"), "1"))
    finally:
        journal._closing = False


class UnhelpfulBroker(MemoryBroker):
    """Says that a robot listens, and then certainly sends nothing."""

    async def has_consumers(self, queue: str) -> bool:
        return True

    async def enqueue(self, queue: str, letter: QueueMessage, *, expires_s: float) -> None:
        raise Unavailable("nobody listens to this")


@pytest.mark.parametrize(
    ("outcome", "expected"),
    [(1, Unavailable), (None, None), (Unreachable(), OutcomeUnknown), (StatementTimeout(), OutcomeUnknown)],
    ids=["withdrawn", "settled before", "no connection", "no answer"],
)
async def test_a_command_that_may_stand_in_its_table_is_not_told_as_certainly_not_asked(
    chat: InProcessServer,
    alice: Person,
    monkeypatch: pytest.MonkeyPatch,
    outcome: Any,
    expected: type[Exception] | None,
) -> None:
    """Left in its table, it gets its outcome in the room when its time is up."""
    assert chat.app is not None
    broker, db, journal = UnhelpfulBroker(), chat.app[keys.DB], chat.app[keys.WRITER]
    commands = SlashCommands(db, journal, broker, timeout_s=10, write_timeout_s=5)
    who = Identity(alice.id, alice.username, alice.email, 0)

    async def withdraw(name: str, type_: type, **params: Any) -> Any:
        assert name == "commands/cancel"
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    monkeypatch.setattr(db, "fetch_value", withdraw)
    if expected is None:
        assert await commands.run(who, GENERAL, "/stock=AAPL.US", None) is False
    else:
        with pytest.raises(expected):
            await commands.run(who, GENERAL, "/stock=AAPL.US", None)
