"""chat/broker: two brokers (memory.py, rabbitmq.py), one behaviour; and what RabbitMQ's does when a part of it dies."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any, TypeVar

import aiormq
import pytest
from aiormq.abc import AbstractChannel

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
PROPERTIES: list[dict[str, Any]] = [
    {"durable": True},
    {"durable": False},
    {"durable": True, "arguments": {"x-max-length": 100}},
]
each_properties = pytest.mark.parametrize("properties", PROPERTIES, ids=["durable", "transient", "bounded"])
T = TypeVar("T")
MakeBroker = Callable[[], Broker]


@pytest.fixture(scope="session")
def amqp_url() -> str:
    url = config.load(dotenv=ROOT / ".env").amqp_url
    if url.startswith("memory:"):
        pytest.skip("there is no RabbitMQ")
    return url


@pytest.fixture
async def admin(amqp_url: str) -> AsyncIterator[AbstractChannel]:
    """A channel of the test's own, to declare and delete queues with."""
    async with channel(amqp_url) as admin:
        yield admin


@pytest.fixture
async def prefix(amqp_url: str) -> AsyncIterator[str]:
    """A prefix of the names of one test."""
    async with own_prefix(amqp_url) as prefix:
        yield prefix


@pytest.fixture(params=["memory", "rabbitmq"])
async def make(request: pytest.FixtureRequest) -> AsyncIterator[MakeBroker]:
    """Makes brokers of one kind; those of one test speak to one another (the memory's is one for all)."""
    async with contextlib.AsyncExitStack() as stack:
        if request.param == "memory":
            only_one = MemoryBroker()
            stack.push_async_callback(only_one.close)
            yield lambda: only_one
            return
        url = request.getfixturevalue("amqp_url")
        prefix = await stack.enter_async_context(own_prefix(url))

        def make() -> Broker:
            broker = RabbitBroker(url, prefix=prefix)
            stack.push_async_callback(broker.close)
            return broker

        yield make


@pytest.fixture
async def proxy(amqp_url: str) -> AsyncIterator[Proxy]:
    async with Proxy.before(amqp_url) as proxy:
        yield proxy


@pytest.fixture
def short_timeouts(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (
        "BEACON_TIMEOUT_S",
        "BEACON_INTERVAL_S",
        "ENQUEUE_TIMEOUT_S",
        "SETUP_TIMEOUT_S",
        "CLOSE_TIMEOUT_S",
    ):
        monkeypatch.setattr(rabbitmq, name, 0.2)
    monkeypatch.setattr(rabbitmq, "CONNECT_TIMEOUT_S", 1.0)
    monkeypatch.setattr(rabbitmq, "RECONNECT_BACKOFF_S", (0.01, 0.05))
    monkeypatch.setattr(rabbitmq, "QUEUE_RETRY_S", 0.05)
    monkeypatch.setattr(rabbitmq, "CONSUMER_CHECK_S", 0.05)
    for module in (rabbitmq, memory):
        monkeypatch.setattr(module, "REQUEUE_DELAY_S", 0.01)


@pytest.fixture
def channels(monkeypatch: pytest.MonkeyPatch) -> list[AbstractChannel]:
    """The channels that brokers have made since the test began."""
    made: list[AbstractChannel] = []
    make_channel = aiormq.Connection.channel

    async def recorded(connection: aiormq.Connection, *args: Any, **options: Any) -> AbstractChannel:
        made.append(await make_channel(connection, *args, **options))
        return made[-1]

    monkeypatch.setattr(aiormq.Connection, "channel", recorded)
    return made


@contextlib.asynccontextmanager
async def channel(url: str) -> AsyncIterator[AbstractChannel]:
    connection = await aiormq.connect(url)
    try:
        yield await connection.channel()
    finally:
        await connection.close()


@contextlib.asynccontextmanager
async def own_prefix(url: str) -> AsyncIterator[str]:
    """Yield a prefix of names. Nothing with it stays in a RabbitMQ that others use."""
    prefix = unique("test") + "."
    yield prefix
    async with channel(url) as admin:
        await admin.queue_delete(prefix + QUEUE)
        await admin.exchange_delete(prefix + rabbitmq.EVENTS_EXCHANGE)


async def exists(url: str, queue: str) -> bool:
    async with channel(url) as admin:
        try:
            await admin.queue_declare(queue, passive=True)
        except aiormq.ChannelNotFoundEntity:
            return False
        return True


class Recorder:
    """Keeps what a broker delivers. `declares`: whether the queue is declared too, as a bot does."""

    def __init__(self, broker: Broker, queue: str = "", *, declares: bool = True) -> None:
        self.events: list[bytes] = []
        self.messages: list[QueueMessage] = []
        self.failures = 0  # messages whose handling fails
        self.error: Exception = Unavailable("not now")
        broker.subscribe(self.events.append)
        if queue:
            broker.consume(queue, self._handle)
        if queue and declares:
            broker.declare(queue)

    @property
    def bodies(self) -> list[bytes]:
        return [message.body for message in self.messages]

    async def _handle(self, message: QueueMessage) -> None:
        self.messages.append(message)
        if self.failures:
            self.failures -= 1
            raise self.error


# --- both brokers -------------------------------------------------------------------------------------


async def test_a_message_reaches_its_consumer(make: MakeBroker) -> None:
    broker = make()
    recorder = Recorder(broker, QUEUE)
    assert not await broker.has_consumers(QUEUE)
    await broker.open()
    assert await broker.has_consumers(QUEUE)
    await broker.enqueue(QUEUE, QueueMessage(b"{}", "17"), expires_s=5)
    await broker.enqueue(QUEUE, QueueMessage(b"[]", None), expires_s=5)
    await eventually(lambda: len(recorder.messages) == 2)
    assert recorder.messages == [QueueMessage(b"{}", "17"), QueueMessage(b"[]", None)]


async def test_a_message_that_cannot_be_handled_comes_again(make: MakeBroker, short_timeouts: None) -> None:
    broker = make()
    recorder = Recorder(broker, QUEUE)
    recorder.failures = 2
    await broker.open()
    await broker.enqueue(QUEUE, QueueMessage(b"{}", "17"), expires_s=5)
    await eventually(lambda: len(recorder.messages) == 3)
    assert set(recorder.messages) == {QueueMessage(b"{}", "17")}


async def test_a_message_that_never_can_be_handled_does_not_come_again(make: MakeBroker, short_timeouts: None) -> None:
    broker = make()
    recorder = Recorder(broker, QUEUE)
    recorder.failures, recorder.error = 20, ValueError("never")  # more than are handed out at once
    await broker.open()
    for number in range(21):
        await broker.enqueue(QUEUE, QueueMessage(b"{}", str(number)), expires_s=5)
    await eventually(lambda: len(recorder.messages) == 21)
    assert [message.correlation_id for message in recorder.messages] == [str(number) for number in range(21)]


async def test_a_message_for_a_queue_that_nobody_consumes_is_refused(make: MakeBroker) -> None:
    broker = make()
    await broker.open()
    assert not await broker.has_consumers("nobody")
    with pytest.raises(Unavailable):
        await broker.enqueue("nobody", QueueMessage(b"{}", None), expires_s=5)


async def test_a_closed_broker_refuses_messages_and_swallows_events(make: MakeBroker) -> None:
    broker = make()
    recorder = Recorder(broker, QUEUE)
    await broker.open()
    await broker.close()
    assert not broker.up
    broker.publish(b"lost")
    assert not await broker.has_consumers(QUEUE)
    with pytest.raises(Unavailable):
        await broker.enqueue(QUEUE, QueueMessage(b"{}", None), expires_s=5)
    await broker.close()
    assert recorder.messages == []


# --- RabbitMQ -----------------------------------------------------------------------------------------

PEER_CHANNELS = 3  # for the queues' messages, for publishing, for the events


class PeerRecorder(Recorder):
    """Keeps what a broker delivers, beside the broker of another process, which is never disturbed."""

    def __init__(self, broker: Broker, queue: str, *, declares: bool, peer: Broker) -> None:
        super().__init__(broker, queue, declares=declares)
        self.peer = peer
        self.peer_events = Recorder(peer).events


@contextlib.asynccontextmanager
async def opened(
    url: str, prefix: str, *, queue: str = QUEUE, declares: bool = True
) -> AsyncIterator[tuple[RabbitBroker, PeerRecorder]]:
    peer = RabbitBroker(config.load(dotenv=ROOT / ".env").amqp_url, prefix=prefix)
    broker = RabbitBroker(url, prefix=prefix)
    recorder = PeerRecorder(broker, queue, declares=declares, peer=peer)
    await peer.open()
    await broker.open()
    try:
        yield broker, recorder
    finally:
        await broker.close()
        await peer.close()


async def test_events_reach_the_other_processes_in_order_and_not_their_sender(amqp_url: str, prefix: str) -> None:
    async with opened(amqp_url, prefix) as (broker, recorder):
        assert broker.up
        sent = [b"%d" % number for number in range(1_000)]
        for body in sent:
            broker.publish(body)
        await eventually(lambda: len(recorder.peer_events) == len(sent))
        recorder.peer.publish(b"back")
        await eventually(lambda: bool(recorder.events))
    assert recorder.peer_events == sent
    assert recorder.events == [b"back"]


async def at_once(call: Coroutine[Any, Any, T]) -> T:
    """The result of a call that has to end in the first turn of the loop."""
    task = asyncio.create_task(call)
    await asyncio.sleep(0)
    assert task.done(), "the call waits for something"
    return task.result()


async def test_a_process_gets_the_topics_that_it_follows_once_and_what_has_no_topic(amqp_url: str, prefix: str) -> None:
    async with opened(amqp_url, prefix) as (broker, recorder):
        recorder.peer.follow({1, 2, 3})
        recorder.peer.follow({1, 2})
        async with asyncio.timeout(10):
            while b"both" not in recorder.peer_events:  # until it is bound
                broker.publish(b"both", {2, 1})
                await asyncio.sleep(0.01)
        recorder.peer_events.clear()
        broker.publish(b"of others", {3, 4})
        broker.publish(b"one", {1})
        broker.publish(b"both, once", {1, 2, 5})
        broker.publish(b"for all")
        await eventually(lambda: b"for all" in recorder.peer_events)
        assert [body for body in recorder.peer_events if body != b"both"] == [b"one", b"both, once", b"for all"]


async def test_topics_are_followed_again_after_a_broken_connection(
    amqp_url: str, prefix: str, proxy: Proxy, short_timeouts: None
) -> None:
    async with opened(proxy.instead_of(amqp_url), prefix) as (broker, recorder):
        broker.follow({7})
        for number in range(3):
            mark = b"%d" % number
            async with asyncio.timeout(10):
                while mark not in recorder.events:
                    recorder.peer.publish(mark, {7})
                    await asyncio.sleep(0.02)
            proxy.cut()


async def test_a_process_publishes_as_long_as_it_hears_another(
    amqp_url: str, prefix: str, short_timeouts: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bot's broker is no such process."""
    monkeypatch.setattr(rabbitmq, "BEACON_INTERVAL_S", 0.05)
    monkeypatch.setattr(rabbitmq, "PEER_TIMEOUT_S", 0.5)
    broker, peer = RabbitBroker(amqp_url, prefix=prefix), RabbitBroker(amqp_url, prefix=prefix)
    Recorder(broker)
    recorder = Recorder(peer)
    bot = RabbitBroker(amqp_url, prefix=prefix)

    def is_alone() -> bool:
        broker.publish(b"to nobody")
        return not broker.unsent_bytes and not broker.has_listeners()

    await bot.open()
    await broker.open()
    try:
        broker.publish(b"at the start")
        assert broker.has_listeners() and broker.unsent_bytes, "another process may not have spoken yet"
        await eventually(is_alone)
        await peer.open()
        await eventually(lambda: not is_alone())
        broker.publish(b"to the peer")
        await eventually(lambda: b"to the peer" in recorder.events)
        await peer.close()
        await eventually(is_alone)
    finally:
        await broker.close()
        await peer.close()
        await bot.close()


async def works(broker: RabbitBroker, recorder: PeerRecorder) -> None:
    """Events, in both directions, and messages go through, at the latest after a while."""
    mark = unique("mark").encode()

    async def enqueue() -> None:
        with contextlib.suppress(Unavailable, OutcomeUnknown):
            if await broker.has_consumers(QUEUE):
                await broker.enqueue(QUEUE, QueueMessage(mark, None), expires_s=5)

    async with asyncio.timeout(10):
        while mark not in recorder.peer_events or mark not in recorder.events:
            broker.publish(mark)
            recorder.peer.publish(mark)
            await asyncio.sleep(0.05)
        while mark not in recorder.bodies:
            await enqueue()
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("end", ["cut", "finish"])
async def test_it_comes_back_after_a_broken_connection(
    amqp_url: str, prefix: str, proxy: Proxy, short_timeouts: None, end: str
) -> None:
    async with opened(proxy.instead_of(amqp_url), prefix) as (broker, recorder):
        for _ in range(3):
            await works(broker, recorder)
            getattr(proxy, end)()
            await eventually(lambda: not broker.up)
        await works(broker, recorder)
        assert broker.up


async def test_it_starts_without_rabbitmq_and_finds_it_later(
    amqp_url: str, prefix: str, proxy: Proxy, short_timeouts: None
) -> None:
    proxy.refusing = True
    async with opened(proxy.instead_of(amqp_url), prefix) as (broker, recorder):
        assert not broker.up
        with pytest.raises(Unavailable):
            await broker.enqueue(QUEUE, QueueMessage(b"{}", None), expires_s=5)
        proxy.refusing = False
        await works(broker, recorder)


async def test_it_starts_while_rabbitmq_is_frozen(
    amqp_url: str, prefix: str, proxy: Proxy, short_timeouts: None
) -> None:
    proxy.hold()
    async with opened(proxy.instead_of(amqp_url), prefix) as (broker, recorder):
        assert not broker.up
        proxy.release()
        await works(broker, recorder)


async def test_a_frozen_broker_is_noticed_and_nothing_piles_up(
    amqp_url: str, prefix: str, proxy: Proxy, short_timeouts: None
) -> None:
    async with opened(proxy.instead_of(amqp_url), prefix) as (broker, recorder):
        await works(broker, recorder)
        proxy.hold()
        for _ in range(1000):
            broker.publish(b"x" * 10_000)
        assert broker.unsent_bytes <= rabbitmq.MAX_UNSENT_BYTES
        await eventually(lambda: not broker.up)
        assert await at_once(broker.has_consumers(QUEUE)) is False
        with pytest.raises(Unavailable):
            await at_once(broker.enqueue(QUEUE, QueueMessage(b"{}", None), expires_s=5))
        unsent = broker.unsent_bytes
        for _ in range(1000):
            broker.publish(b"x" * 10_000)
        assert broker.unsent_bytes <= unsent
        proxy.release()
        await works(broker, recorder)
        assert len(recorder.peer_events) < 200


async def test_a_message_that_is_not_confirmed_may_have_been_sent(
    amqp_url: str, prefix: str, proxy: Proxy, short_timeouts: None
) -> None:
    async with opened(proxy.instead_of(amqp_url), prefix) as (broker, recorder):
        await works(broker, recorder)
        proxy.hold()
        with pytest.raises(OutcomeUnknown):
            await broker.enqueue(QUEUE, QueueMessage(b"{}", None), expires_s=5)
        await eventually(lambda: not broker.up)


@pytest.mark.timing
async def test_it_is_closed_quickly_while_frozen(
    amqp_url: str, prefix: str, proxy: Proxy, short_timeouts: None
) -> None:
    async with opened(proxy.instead_of(amqp_url), prefix) as (broker, recorder):
        await works(broker, recorder)
        proxy.hold()
        broker.publish(b"x" * 1_000_000)
        started = time.monotonic()
        await broker.close()
        assert time.monotonic() - started < 3


async def test_a_deleted_exchange_is_made_anew(
    amqp_url: str, prefix: str, admin: AbstractChannel, short_timeouts: None
) -> None:
    async with opened(amqp_url, prefix) as (broker, recorder):
        await works(broker, recorder)
        await admin.exchange_delete(prefix + rabbitmq.EVENTS_EXCHANGE)
        await works(broker, recorder)


async def test_each_channel_that_dies_alone_is_replaced(
    amqp_url: str, prefix: str, channels: list[AbstractChannel], short_timeouts: None
) -> None:
    async with opened(amqp_url, prefix) as (broker, recorder):
        killed = 0
        while killed < 4:  # for the queue's messages, for publishing, for the events, and for consuming the queue
            await works(broker, recorder)
            lasting = [channel for channel in channels if not channel.is_closed][PEER_CHANNELS:]
            dying = lasting[killed]
            with contextlib.suppress(aiormq.AMQPError):
                await dying.queue_declare("no.such.queue." + unique(), passive=True)
            await eventually(lambda channel: channel.is_closed, dying)
            killed += 1
        await works(broker, recorder)


async def test_a_message_expires_when_nobody_takes_it_in_time(
    amqp_url: str, prefix: str, admin: AbstractChannel
) -> None:
    await admin.queue_declare(prefix + QUEUE)
    async with opened(amqp_url, prefix, queue="") as (sender, _):
        await sender.enqueue(QUEUE, QueueMessage(b"{}", None), expires_s=0.05)
        async with asyncio.timeout(5):
            while (await admin.queue_declare(prefix + QUEUE, passive=True)).message_count:
                await asyncio.sleep(0.02)


async def test_it_can_be_asked_whether_a_url_is_good(amqp_url: str, proxy: Proxy) -> None:
    url = proxy.instead_of(amqp_url)
    assert await rabbitmq.can_connect(url, 3.0)
    proxy.hold()
    assert not await rabbitmq.can_connect(url, 0.1)
    proxy.release()
    proxy.refusing = True
    assert not await rabbitmq.can_connect(url, 3.0)


def test_a_memory_broker_is_chosen_by_its_url() -> None:
    assert isinstance(make_broker("memory:", prefix=""), MemoryBroker)


# --- RabbitMQ: the queues -----------------------------------------------------------------------------


async def test_a_consumer_declares_no_queue(amqp_url: str, prefix: str, short_timeouts: None) -> None:
    async with opened(amqp_url, prefix, declares=False) as (broker, _):
        assert broker.up
        assert not await broker.has_consumers(QUEUE)
        with pytest.raises(Unavailable):
            await broker.enqueue(QUEUE, QueueMessage(b"{}", None), expires_s=5)
        assert not await exists(amqp_url, prefix + QUEUE)


@each_properties
async def test_a_queue_that_exists_is_consumed_as_it_is(
    amqp_url: str, prefix: str, admin: AbstractChannel, properties: dict[str, Any], short_timeouts: None
) -> None:
    await admin.queue_declare(prefix + QUEUE, **properties)
    async with opened(amqp_url, prefix, declares=False) as (broker, recorder):
        await works(broker, recorder)


@each_properties
async def test_a_queue_that_appears_later_is_found(
    amqp_url: str, prefix: str, admin: AbstractChannel, properties: dict[str, Any], short_timeouts: None
) -> None:
    async with opened(amqp_url, prefix, declares=False) as (broker, recorder):
        await admin.queue_declare(prefix + QUEUE, **properties)
        await works(broker, recorder)


async def test_a_queue_that_is_deleted_and_declared_with_other_properties_is_found_again(
    amqp_url: str, prefix: str, admin: AbstractChannel, channels: list[AbstractChannel], short_timeouts: None
) -> None:
    async with opened(amqp_url, prefix, declares=False) as (broker, recorder):
        for properties in (*PROPERTIES, PROPERTIES[0]):
            await admin.queue_declare(prefix + QUEUE, **properties)
            await works(broker, recorder)
            await admin.queue_delete(prefix + QUEUE)
        assert len({channel.connection for channel in channels if channel is not admin}) == 2, "one for each broker"


async def test_an_exchange_of_queues_does_not_disturb_events(
    amqp_url: str, prefix: str, admin: AbstractChannel, short_timeouts: None
) -> None:
    async with opened(amqp_url, prefix, declares=False) as (broker, recorder):
        for number in range(5):
            await admin.queue_declare(prefix + QUEUE, durable=bool(number % 2))
            await works(broker, recorder)
            await admin.queue_delete(prefix + QUEUE)
            before = len(recorder.events)
            recorder.peer.publish(b"%d" % number)
            await eventually(lambda count: len(recorder.events) > count, before)
            assert recorder.events[-1] == b"%d" % number, "an event was lost"


@each_properties
async def test_a_declared_queue_that_exists_with_other_properties_is_used_as_it_is(
    amqp_url: str, prefix: str, admin: AbstractChannel, properties: dict[str, Any], short_timeouts: None
) -> None:
    await admin.queue_declare(prefix + QUEUE, **properties)
    async with opened(amqp_url, prefix) as (broker, recorder):
        await works(broker, recorder)
    await admin.queue_declare(prefix + QUEUE, **properties)  # it would fail if they were others now


async def test_a_declared_queue_is_durable_and_is_made_anew_when_it_is_deleted(
    amqp_url: str, prefix: str, admin: AbstractChannel, short_timeouts: None
) -> None:
    async with opened(amqp_url, prefix) as (broker, recorder):
        await works(broker, recorder)
        await admin.queue_delete(prefix + QUEUE)
        await works(broker, recorder)
    await admin.queue_declare(prefix + QUEUE, durable=True)


async def test_a_declared_queue_that_is_consumed_elsewhere_is_made_anew_by_the_next_message(
    amqp_url: str, prefix: str, admin: AbstractChannel, short_timeouts: None
) -> None:
    bot = RabbitBroker(amqp_url, prefix=prefix)
    bot.declare(QUEUE)
    await bot.open()
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(bot.close)
        await admin.queue_delete(prefix + QUEUE)
        with pytest.raises(Unavailable):
            await bot.enqueue(QUEUE, QueueMessage(b"first", None), expires_s=5)
        await bot.enqueue(QUEUE, QueueMessage(b"again", None), expires_s=5)
        _, recorder = await stack.enter_async_context(opened(amqp_url, prefix, declares=False))
        await eventually(lambda: recorder.bodies == [b"again"])


async def test_two_consumers_share_a_queue(amqp_url: str, prefix: str) -> None:
    async with opened(amqp_url, prefix) as (first, recorder), opened(amqp_url, prefix) as (_, other):
        for number in range(20):
            await first.enqueue(QUEUE, QueueMessage(b"%d" % number, None), expires_s=5)
        await eventually(lambda: len(recorder.messages) + len(other.messages) == 20)
        assert recorder.messages and other.messages


# --- RabbitMQ: whether anybody consumes a queue -------------------------------------------------------


@pytest.fixture
def passive_declares(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The queues that RabbitMQ was asked about since the test began."""
    asked: list[str] = []
    declare: Callable[..., Any] = aiormq.Channel.queue_declare

    async def recorded(channel: AbstractChannel, queue: str = "", **options: Any) -> Any:
        if options.get("passive"):
            asked.append(queue)
        return await declare(channel, queue, **options)

    monkeypatch.setattr(aiormq.Channel, "queue_declare", recorded)
    return asked


async def test_many_askers_share_one_question_for_a_second(
    amqp_url: str, prefix: str, passive_declares: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rabbitmq, "CONSUMER_CHECK_S", 60.0)
    async with opened(amqp_url, prefix) as (broker, _):
        for _ in range(3):
            answers = await asyncio.gather(*(broker.has_consumers(QUEUE) for _ in range(100)))
            assert all(answers)
            assert not await broker.has_consumers("nobody")
        assert sorted(passive_declares) == sorted([prefix + QUEUE, prefix + "nobody"])


async def test_an_asker_that_gives_up_does_not_take_the_answer_from_the_others(
    amqp_url: str, prefix: str, proxy: Proxy
) -> None:
    async with opened(proxy.instead_of(amqp_url), prefix) as (broker, _):
        proxy.hold()
        first, other = (asyncio.create_task(broker.has_consumers(QUEUE)) for _ in range(2))
        await asyncio.sleep(0)  # both have asked
        first.cancel()
        proxy.release()
        assert await other


async def test_a_consumer_that_appears_or_vanishes_is_known_when_the_answer_is_a_second_old(
    amqp_url: str, prefix: str, short_timeouts: None
) -> None:
    async def until(expected: bool) -> None:
        async with asyncio.timeout(10):
            while await asker.has_consumers(QUEUE) is not expected:
                await asyncio.sleep(0.01)

    async with opened(amqp_url, prefix, queue="") as (asker, _):
        for _ in range(2):
            await until(False)
            async with opened(amqp_url, prefix):
                await until(True)
