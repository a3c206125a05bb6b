"""chat/broker: two bodies (local.py, rabbitmq.py), one behaviour; and what RabbitMQ's does when a part of it dies."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any, TypeVar

import aiormq
import pytest

from chat import config
from chat.broker import memory, rabbitmq
from chat.broker.base import Broker, QueueMessage
from chat.broker.factory import make_broker
from chat.broker.memory import MemoryBroker
from chat.broker.rabbitmq import RabbitBroker
from chat.errors import OutcomeUnknown, Unavailable
from tests.support.names import unique
from tests.support.proxy import Proxy
from tests.support.settings import ROOT
from tests.support.waiting import eventually

QUEUE = "messages"
T = TypeVar("T")
Make = Callable[..., Broker]


@pytest.fixture(scope="session")
def amqp_url() -> str:
    url = config.load(dotenv=ROOT / ".env").amqp_url
    if url.startswith("memory:"):
        pytest.skip("there is no RabbitMQ")
    return url


@pytest.fixture(params=["memory", "rabbitmq"])
async def makes(request: pytest.FixtureRequest) -> AsyncIterator[Make]:
    """Makes brokers of one body; those of one test speak to one another (the local one is one for all)."""
    prefix = unique("test") + "."
    url = "memory:" if request.param == "memory" else request.getfixturevalue("amqp_url")
    async with contextlib.AsyncExitStack() as stack:
        if request.param == "rabbitmq":
            stack.push_async_callback(tidy, url, prefix)
        made: list[Broker] = []

        def make(**options: Any) -> Broker:
            if request.param == "memory" and made:
                return made[0]
            broker = make_broker(url, **{"prefix": prefix, "durable": False, **options})
            stack.push_async_callback(broker.close)
            made.append(broker)
            return broker

        yield make


@pytest.fixture
async def proxy(amqp_url: str) -> AsyncIterator[Proxy]:
    async with Proxy.before(amqp_url) as proxy:
        yield proxy


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (
        "PUBLISH_TIMEOUT_S",
        "PROBE_INTERVAL_S",
        "ENQUEUE_TIMEOUT_S",
        "SETUP_TIMEOUT_S",
        "CLOSE_TIMEOUT_S",
    ):
        monkeypatch.setattr(rabbitmq, name, 0.2)
    monkeypatch.setattr(rabbitmq, "CONNECT_TIMEOUT_S", 1.0)
    monkeypatch.setattr(rabbitmq, "RECONNECT_BACKOFF_S", (0.01, 0.05))
    for module in (rabbitmq, memory):
        monkeypatch.setattr(module, "REQUEUE_DELAY_S", 0.01)


async def tidy(url: str, prefix: str) -> None:
    """Nothing of a test stays in a RabbitMQ that others use."""
    async with channel(url) as admin:
        await admin.queue_delete(prefix + QUEUE)
        await admin.exchange_delete(prefix + "chat.events")


@contextlib.asynccontextmanager
async def channel(url: str) -> AsyncIterator[Any]:
    connection = await aiormq.connect(url)
    try:
        yield await connection.channel()
    finally:
        await connection.close()


class Ear:
    """What a broker's rings and messages say."""

    def __init__(self, broker: Broker, queue: str = "") -> None:
        self.rings: list[bytes] = []
        self.messages: list[QueueMessage] = []
        self.refuses = 0  # messages that raise
        self.error: Exception = Unavailable("not now")
        broker.subscribe(self.rings.append)
        if queue:
            broker.consume(queue, self._handle)

    async def _handle(self, message: QueueMessage) -> None:
        self.messages.append(message)
        if self.refuses:
            self.refuses -= 1
            raise self.error


# --- both bodies --------------------------------------------------------------------------------------


async def test_a_ring_reaches_everybody_in_order(makes: Make) -> None:
    here = makes()
    ear = Ear(here)
    await here.open()
    there = makes()
    other = Ear(there)
    await there.open()
    assert here.up and there.up
    for number in range(8):
        here.publish(b"%d" % number)
    await eventually(lambda: len(ear.rings) == len(other.rings) == 8)
    assert ear.rings == other.rings == [b"%d" % number for number in range(8)]


async def test_a_message_reaches_its_consumer(makes: Make) -> None:
    broker = makes()
    ear = Ear(broker, QUEUE)
    assert not await broker.has_consumers(QUEUE)
    await broker.open()
    assert await broker.has_consumers(QUEUE)
    await broker.enqueue(QUEUE, QueueMessage(b"{}", "17"), expires_s=5)
    await broker.enqueue(QUEUE, QueueMessage(b"[]", None), expires_s=5)
    await eventually(lambda: len(ear.messages) == 2)
    assert ear.messages == [QueueMessage(b"{}", "17"), QueueMessage(b"[]", None)]


async def test_a_message_that_cannot_be_handled_comes_again(makes: Make, quick: None) -> None:
    broker = makes()
    ear = Ear(broker, QUEUE)
    ear.refuses = 2
    await broker.open()
    await broker.enqueue(QUEUE, QueueMessage(b"{}", "17"), expires_s=5)
    await eventually(lambda: len(ear.messages) == 3)
    assert set(ear.messages) == {QueueMessage(b"{}", "17")}


async def test_a_message_that_never_can_be_handled_does_not_come_again(makes: Make, quick: None) -> None:
    broker = makes()
    ear = Ear(broker, QUEUE)
    ear.refuses, ear.error = 20, ValueError("poison")  # more than are handed out at once
    await broker.open()
    for number in range(21):
        await broker.enqueue(QUEUE, QueueMessage(b"{}", str(number)), expires_s=5)
    await eventually(lambda: len(ear.messages) == 21)
    assert [message.correlation_id for message in ear.messages] == [str(number) for number in range(21)]


async def test_a_message_that_nobody_serves_is_refused(makes: Make) -> None:
    broker = makes()
    await broker.open()
    assert not await broker.has_consumers("nobody")
    with pytest.raises(Unavailable):
        await broker.enqueue("nobody", QueueMessage(b"{}", None), expires_s=5)


async def test_a_closed_broker_refuses_messages_and_swallows_pending_publishes(makes: Make) -> None:
    broker = makes()
    ear = Ear(broker, QUEUE)
    await broker.open()
    await broker.close()
    assert not broker.up
    broker.publish(b"lost")
    assert not await broker.has_consumers(QUEUE)
    with pytest.raises(Unavailable):
        await broker.enqueue(QUEUE, QueueMessage(b"{}", None), expires_s=5)
    await broker.close()
    assert ear.messages == []


# --- RabbitMQ -----------------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def serving(url: str, **options: Any) -> AsyncIterator[tuple[RabbitBroker, Ear]]:
    broker = RabbitBroker(url, **{"prefix": unique("test") + ".", "durable": False, **options})
    ear = Ear(broker, QUEUE)
    await broker.open()
    try:
        yield broker, ear
    finally:
        await broker.close()
        await tidy(config.load(dotenv=ROOT / ".env").amqp_url, broker._prefix)  # not by way of a proxy


async def without_waiting(call: Coroutine[Any, Any, T]) -> T:
    """The result of a call that has to end in the first turn of the loop."""
    task = asyncio.create_task(call)
    await asyncio.sleep(0)
    assert task.done(), "the call waits for something"
    return task.result()


async def works(broker: RabbitBroker, ear: Ear) -> None:
    """Rings and messages go through, at the latest after a while."""
    mark = unique("mark").encode()

    async def arrives(heard: Callable[[], list[bytes]], act: Callable[[], Any]) -> None:
        async with asyncio.timeout(10):
            while mark not in heard():
                with contextlib.suppress(Unavailable, OutcomeUnknown):
                    if waiting := act():
                        await waiting
                await asyncio.sleep(0.05)

    await arrives(lambda: ear.rings, lambda: broker.publish(mark))
    await arrives(lambda: [message.body for message in ear.messages], lambda: _sent(broker, mark))


async def _sent(broker: RabbitBroker, mark: bytes) -> None:
    if await broker.has_consumers(QUEUE):
        await broker.enqueue(QUEUE, QueueMessage(mark, None), expires_s=5)


@pytest.mark.parametrize("end", ["cut", "finish"])
async def test_it_comes_back_after_a_broken_connection(amqp_url: str, proxy: Proxy, quick: None, end: str) -> None:
    async with serving(proxy.instead_of(amqp_url)) as (broker, ear):
        for _ in range(3):
            await works(broker, ear)
            getattr(proxy, end)()
            await eventually(lambda: not broker.up)
        await works(broker, ear)
        assert broker.up


async def test_it_starts_without_rabbitmq_and_finds_it_later(amqp_url: str, proxy: Proxy, quick: None) -> None:
    proxy.refusing = True
    async with serving(proxy.instead_of(amqp_url)) as (broker, ear):
        assert not broker.up
        with pytest.raises(Unavailable):
            await broker.enqueue(QUEUE, QueueMessage(b"{}", None), expires_s=5)
        proxy.refusing = False
        await works(broker, ear)


async def test_it_starts_while_rabbitmq_is_frozen(amqp_url: str, proxy: Proxy, quick: None) -> None:
    proxy.hold()
    async with serving(proxy.instead_of(amqp_url)) as (broker, ear):
        assert not broker.up
        proxy.release()
        await works(broker, ear)


async def test_a_frozen_broker_is_noticed_and_nothing_piles_up(amqp_url: str, proxy: Proxy, quick: None) -> None:
    async with serving(proxy.instead_of(amqp_url)) as (broker, ear):
        await works(broker, ear)
        proxy.hold()
        for _ in range(1000):
            broker.publish(b"x" * 10_000)
        assert len(broker._pending_publishes) <= rabbitmq.MAX_PENDING_PUBLISHES
        await eventually(lambda: not broker.up)
        assert await without_waiting(broker.has_consumers(QUEUE)) is False
        with pytest.raises(Unavailable):
            await without_waiting(broker.enqueue(QUEUE, QueueMessage(b"{}", None), expires_s=5))
        for _ in range(1000):
            broker.publish(b"x" * 10_000)
        await eventually(lambda: not broker._pending_publishes)
        proxy.release()
        await works(broker, ear)
        assert len(ear.rings) < 100


async def test_a_message_that_is_not_confirmed_may_have_been_sent(amqp_url: str, proxy: Proxy, quick: None) -> None:
    async with serving(proxy.instead_of(amqp_url)) as (broker, ear):
        await works(broker, ear)
        proxy.hold()
        with pytest.raises(OutcomeUnknown):
            await broker.enqueue(QUEUE, QueueMessage(b"{}", None), expires_s=5)
        await eventually(lambda: not broker.up)


@pytest.mark.timing
async def test_it_is_closed_quickly_while_frozen(amqp_url: str, proxy: Proxy, quick: None) -> None:
    async with serving(proxy.instead_of(amqp_url)) as (broker, ear):
        await works(broker, ear)
        proxy.hold()
        broker.publish(b"x" * 1_000_000)
        started = time.monotonic()
        await broker.close()
        assert time.monotonic() - started < 3


async def test_a_deleted_queue_is_made_anew(amqp_url: str, quick: None) -> None:
    async with serving(amqp_url) as (broker, ear):
        await works(broker, ear)
        async with channel(amqp_url) as admin:
            await admin.queue_delete(broker._prefix + QUEUE)
        await works(broker, ear)


async def test_a_deleted_exchange_is_made_anew(amqp_url: str, quick: None) -> None:
    async with serving(amqp_url) as (broker, ear):
        await works(broker, ear)
        async with channel(amqp_url) as admin:
            await admin.exchange_delete(broker._exchange)
        await works(broker, ear)


@pytest.mark.parametrize("which", ["_publish_channel", "_queue_channel"])
async def test_a_channel_that_dies_alone_is_replaced(amqp_url: str, quick: None, which: str) -> None:
    async with serving(amqp_url) as (broker, ear):
        await works(broker, ear)
        dying = getattr(broker, which)
        with contextlib.suppress(aiormq.AMQPError):
            await dying.queue_declare("no.such.queue." + unique(), passive=True)
        await eventually(lambda: getattr(broker, which) is not dying)
        await works(broker, ear)


@pytest.mark.parametrize("durable", [True, False])
async def test_a_queue_that_exists_is_used_as_it_is(amqp_url: str, durable: bool) -> None:
    prefix = unique("test") + "."
    async with channel(amqp_url) as admin:
        await admin.queue_declare(prefix + QUEUE, durable=durable)
        try:
            async with serving(amqp_url, prefix=prefix, durable=not durable) as (broker, ear):
                await works(broker, ear)
        finally:
            await admin.queue_delete(prefix + QUEUE)


async def test_two_bots_share_a_queue(amqp_url: str) -> None:
    prefix = unique("test") + "."
    async with serving(amqp_url, prefix=prefix) as (first, ear), serving(amqp_url, prefix=prefix) as (_, other):
        for number in range(20):
            await first.enqueue(QUEUE, QueueMessage(b"%d" % number, None), expires_s=5)
        await eventually(lambda: len(ear.messages) + len(other.messages) == 20)
        assert ear.messages and other.messages


async def test_a_message_expires_when_nobody_takes_it_in_time(amqp_url: str) -> None:
    prefix = unique("test") + "."
    async with channel(amqp_url) as admin:
        await admin.queue_declare(prefix + QUEUE)
        async with serving(amqp_url, prefix=prefix + "other.") as (sender, _):
            sender._prefix = prefix
            await sender.enqueue(QUEUE, QueueMessage(b"{}", None), expires_s=0.05)

            async def waiting() -> int:
                return int((await admin.queue_declare(prefix + QUEUE, passive=True)).message_count)

            async with asyncio.timeout(5):
                while await waiting():
                    await asyncio.sleep(0.02)
        await admin.queue_delete(prefix + QUEUE)


async def test_it_can_be_asked_whether_a_url_is_good(amqp_url: str, proxy: Proxy) -> None:
    url = proxy.instead_of(amqp_url)
    assert await rabbitmq.can_connect(url, 3.0)
    proxy.hold()
    assert not await rabbitmq.can_connect(url, 0.1)
    proxy.release()
    proxy.refusing = True
    assert not await rabbitmq.can_connect(url, 3.0)


def test_a_local_broker_is_one_process() -> None:
    assert isinstance(make_broker("memory:", prefix="", durable=True), MemoryBroker)
