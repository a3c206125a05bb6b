"""chat/broker: two bodies (local.py, amqp.py), one behaviour; and what RabbitMQ's does when a part of it dies."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from typing import Any
from urllib.parse import urlsplit

import aiormq
import pytest

from chat import config
from chat.broker import memory as local
from chat.broker import rabbitmq as amqp
from chat.broker.base import Broker, Letter
from chat.broker.factory import make_broker
from chat.broker.memory import LocalBroker
from chat.broker.rabbitmq import AmqpBroker
from chat.errors import OutcomeUnknown, Unavailable
from tests.actors import ROOT, eventually, unique
from tests.proxy import Proxy

QUEUE = "letters"
Make = Callable[..., Broker]


@pytest.fixture(scope="session")
def amqp_url() -> str:
    url = config.load(dotenv=ROOT / ".env").amqp_url
    if url.startswith("local:"):
        pytest.skip("there is no RabbitMQ")
    return url


@pytest.fixture(params=["local", "amqp"])
async def makes(request: pytest.FixtureRequest) -> AsyncIterator[Make]:
    """Makes brokers of one body; those of one test speak to one another (the local one is one for all)."""
    prefix = unique("test") + "."
    url = "local:" if request.param == "local" else request.getfixturevalue("amqp_url")
    async with contextlib.AsyncExitStack() as stack:
        if request.param == "amqp":
            stack.push_async_callback(tidy, url, prefix)
        made: list[Broker] = []

        def make(**options: Any) -> Broker:
            if request.param == "local" and made:
                return made[0]
            broker = make_broker(url, **{"prefix": prefix, "durable": False, **options})
            stack.push_async_callback(broker.close)
            made.append(broker)
            return broker

        yield make


@pytest.fixture
async def proxy(amqp_url: str) -> AsyncIterator[Proxy]:
    async with Proxy("127.0.0.1", urlsplit(amqp_url).port or 5672) as proxy:
        yield proxy


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RING_S", "BEAT_S", "SEND_S", "SETUP_S", "CLOSE_S"):
        monkeypatch.setattr(amqp, name, 0.2)
    monkeypatch.setattr(amqp, "CONNECT_S", 1.0)
    monkeypatch.setattr(amqp, "RECONNECT_S", (0.01, 0.05))
    for body in (amqp, local):
        monkeypatch.setattr(body, "RETRY_S", 0.01)


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
    """What a broker's rings and letters say."""

    def __init__(self, broker: Broker, queue: str = "") -> None:
        self.rings: list[bytes] = []
        self.letters: list[Letter] = []
        self.refuses = 0  # letters that raise
        self.error: Exception = Unavailable("not now")
        broker.on_ring(self.rings.append)
        if queue:
            broker.serve(queue, self._handle)

    async def _handle(self, letter: Letter) -> None:
        self.letters.append(letter)
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
        here.ring(b"%d" % number)
    await eventually(lambda: len(ear.rings) == len(other.rings) == 8)
    assert ear.rings == other.rings == [b"%d" % number for number in range(8)]


async def test_a_letter_reaches_its_consumer(makes: Make) -> None:
    broker = makes()
    ear = Ear(broker, QUEUE)
    assert not await broker.served(QUEUE)
    await broker.open()
    assert await broker.served(QUEUE)
    await broker.send(QUEUE, Letter(b"{}", "17"), expires_s=5)
    await broker.send(QUEUE, Letter(b"[]", None), expires_s=5)
    await eventually(lambda: len(ear.letters) == 2)
    assert ear.letters == [Letter(b"{}", "17"), Letter(b"[]", None)]


async def test_a_letter_that_cannot_be_handled_comes_again(makes: Make, quick: None) -> None:
    broker = makes()
    ear = Ear(broker, QUEUE)
    ear.refuses = 2
    await broker.open()
    await broker.send(QUEUE, Letter(b"{}", "17"), expires_s=5)
    await eventually(lambda: len(ear.letters) == 3)
    assert set(ear.letters) == {Letter(b"{}", "17")}


async def test_a_letter_that_never_can_be_handled_does_not_come_again(makes: Make, quick: None) -> None:
    broker = makes()
    ear = Ear(broker, QUEUE)
    ear.refuses, ear.error = 20, ValueError("poison")  # more than are handed out at once
    await broker.open()
    for number in range(21):
        await broker.send(QUEUE, Letter(b"{}", str(number)), expires_s=5)
    await eventually(lambda: len(ear.letters) == 21)
    assert [letter.correlation_id for letter in ear.letters] == [str(number) for number in range(21)]


async def test_a_letter_that_nobody_serves_is_refused(makes: Make) -> None:
    broker = makes()
    await broker.open()
    assert not await broker.served("nobody")
    with pytest.raises(Unavailable):
        await broker.send("nobody", Letter(b"{}", None), expires_s=5)


async def test_a_closed_broker_refuses_letters_and_swallows_rings(makes: Make) -> None:
    broker = makes()
    ear = Ear(broker, QUEUE)
    await broker.open()
    await broker.close()
    assert not broker.up
    broker.ring(b"lost")
    assert not await broker.served(QUEUE)
    with pytest.raises(Unavailable):
        await broker.send(QUEUE, Letter(b"{}", None), expires_s=5)
    await broker.close()
    assert ear.letters == []


# --- RabbitMQ -----------------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def serving(url: str, **options: Any) -> AsyncIterator[tuple[AmqpBroker, Ear]]:
    broker = AmqpBroker(url, **{"prefix": unique("test") + ".", "durable": False, **options})
    ear = Ear(broker, QUEUE)
    await broker.open()
    try:
        yield broker, ear
    finally:
        started = time.monotonic()
        await broker.close()
        assert time.monotonic() - started < 3, "close() took its time"
        await tidy(config.load(dotenv=ROOT / ".env").amqp_url, broker._prefix)  # not by way of a proxy


async def works(broker: AmqpBroker, ear: Ear) -> None:
    """Rings and letters go through, at the latest after a while."""
    mark = unique("mark").encode()

    async def arrives(heard: Callable[[], list[bytes]], act: Callable[[], Any]) -> None:
        async with asyncio.timeout(10):
            while mark not in heard():
                with contextlib.suppress(Unavailable, OutcomeUnknown):
                    if waiting := act():
                        await waiting
                await asyncio.sleep(0.05)

    await arrives(lambda: ear.rings, lambda: broker.ring(mark))
    await arrives(lambda: [letter.body for letter in ear.letters], lambda: _sent(broker, mark))


async def _sent(broker: AmqpBroker, mark: bytes) -> None:
    if await broker.served(QUEUE):
        await broker.send(QUEUE, Letter(mark, None), expires_s=5)


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
            await broker.send(QUEUE, Letter(b"{}", None), expires_s=5)
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
            broker.ring(b"x" * 10_000)
        assert len(broker._rings) <= amqp.RINGS_IN_FLIGHT
        await eventually(lambda: not broker.up)
        started = time.monotonic()
        assert not await broker.served(QUEUE)
        with pytest.raises(Unavailable):
            await broker.send(QUEUE, Letter(b"{}", None), expires_s=5)
        assert time.monotonic() - started < 0.5
        for _ in range(1000):
            broker.ring(b"x" * 10_000)
        await eventually(lambda: not broker._rings)
        proxy.release()
        await works(broker, ear)
        assert len(ear.rings) < 100


async def test_a_letter_that_is_not_confirmed_may_have_been_sent(amqp_url: str, proxy: Proxy, quick: None) -> None:
    async with serving(proxy.instead_of(amqp_url)) as (broker, ear):
        await works(broker, ear)
        proxy.hold()
        with pytest.raises(OutcomeUnknown):
            await broker.send(QUEUE, Letter(b"{}", None), expires_s=5)
        await eventually(lambda: not broker.up)


async def test_it_is_closed_quickly_while_frozen(amqp_url: str, proxy: Proxy, quick: None) -> None:
    async with serving(proxy.instead_of(amqp_url)) as (broker, ear):
        await works(broker, ear)
        proxy.hold()
        broker.ring(b"x" * 1_000_000)


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


@pytest.mark.parametrize("which", ["_out", "_post"])
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


async def test_two_robots_share_a_queue(amqp_url: str) -> None:
    prefix = unique("test") + "."
    async with serving(amqp_url, prefix=prefix) as (first, ear), serving(amqp_url, prefix=prefix) as (_, other):
        for number in range(20):
            await first.send(QUEUE, Letter(b"%d" % number, None), expires_s=5)
        await eventually(lambda: len(ear.letters) + len(other.letters) == 20)
        assert ear.letters and other.letters


async def test_a_letter_expires_when_nobody_takes_it_in_time(amqp_url: str) -> None:
    prefix = unique("test") + "."
    async with channel(amqp_url) as admin:
        await admin.queue_declare(prefix + QUEUE)
        async with serving(amqp_url, prefix=prefix + "other.") as (sender, _):
            sender._prefix = prefix
            await sender.send(QUEUE, Letter(b"{}", None), expires_s=0.05)

            async def waiting() -> int:
                return int((await admin.queue_declare(prefix + QUEUE, passive=True)).message_count)

            async with asyncio.timeout(5):
                while await waiting():
                    await asyncio.sleep(0.02)
        await admin.queue_delete(prefix + QUEUE)


async def test_it_can_be_asked_whether_a_url_is_good(amqp_url: str, proxy: Proxy) -> None:
    url = proxy.instead_of(amqp_url)
    assert await amqp.opens(url, 3.0)
    proxy.hold()
    assert not await amqp.opens(url, 0.1)
    proxy.release()
    proxy.refusing = True
    assert not await amqp.opens(url, 3.0)


def test_a_local_broker_is_one_process() -> None:
    assert isinstance(make_broker("local:", prefix="", durable=True), LocalBroker)
