"""`Broker` on RabbitMQ. The only module that knows aiormq. See base.py.

The exchange chat.topics (direct) carries what is published, the default exchange the messages of the queues.

    _reconnect_loop   keeps the connection and its channels: when one of them dies, all are made anew
    _publish_loop     sends what is published, as long as the connection lives
    _follow_loop      binds this process's queue to the topics that it follows, as long as the connection lives
    _consume_loop     one for each queue that is consumed, as long as the connection lives; looks for the queue once a
                      second while it is missing
"""

import asyncio
import logging
import random
import secrets
from collections import deque
from collections.abc import Collection, Coroutine
from contextlib import suppress
from typing import Any, NamedTuple

import aiormq
from aiormq import spec
from aiormq.abc import AbstractChannel, AbstractConnection, DeliveredMessage

from chat.aio import cancel_and_wait, within
from chat.broker.base import REQUEUE_DELAY_S, Consumer, EventHandler, QueueMessage
from chat.errors import OutcomeUnknown, Unavailable

log = logging.getLogger(__name__)

EVENTS_EXCHANGE = "chat.topics"
EVERYBODY = "everybody"  # the routing key of what has no topic
MAX_UNSENT_BYTES = 1 << 20  # of events; beyond that they are dropped, so that memory stays flat while the broker hangs
DRAIN_BYTES = 64 * 1024  # of events that go to the socket before waiting until it has taken them
BEACON_TIMEOUT_S = 2.0
ENQUEUE_TIMEOUT_S = 3.0
NOBODY = "chat.nobody"  # a routing key that names no queue
BEACON_INTERVAL_S = 1.0  # between two beacons: they ask whether the broker works, and tell others of this process
PEER_TIMEOUT_S = 5.0  # how long a process that is not heard counts as one that listens
SETUP_TIMEOUT_S = 5.0  # for one step of connecting
CONNECT_TIMEOUT_S = 10.0  # for all steps of connecting
CLOSE_TIMEOUT_S = 1.0
HEARTBEAT_S = 10
RECONNECT_BACKOFF_S = (0.1, 5.0)  # pauses between attempts grow from the first to the second, each with jitter
QUEUE_RETRY_S = 1.0  # between two attempts to consume a queue that is missing
CONSUMER_CHECK_S = 1.0  # between two questions whether a queue has consumers
PREFETCH = 16  # messages taken from a queue and not yet handled
PERSISTENT = 2  # the delivery mode of a message that survives a restart of the broker in a durable queue

BROKER_ERRORS = (aiormq.AMQPError, OSError, TimeoutError, RuntimeError)  # what a dying connection raises


class _ConsumerCheck(NamedTuple):
    """The question whether a queue has consumers, for everybody who asks within a second."""

    asked_at: float  # in the loop's seconds
    answer: "asyncio.Task[bool]"


class RabbitBroker:
    """See the module. `prefix` stands before the names of the exchange and of all queues."""

    def __init__(self, url: str, *, prefix: str) -> None:
        self.up = False
        self._url = url + ("&" if "?" in url else "?") + f"heartbeat={HEARTBEAT_S}"
        self._exchange, self._prefix = prefix + EVENTS_EXCHANGE, prefix
        self._subscribers: list[EventHandler] = []
        self._declared: list[str] = []
        self._consumers: dict[str, Consumer] = {}
        self._connection: AbstractConnection | None = None
        self._queue_channel: AbstractChannel | None = None
        self._sender_id = secrets.token_hex(8)  # of this process, by which it knows its own events
        self._topics: frozenset[int] = frozenset()
        self._topics_changed = asyncio.Event()
        self._unsent: deque[tuple[bytes, list[str]]] = deque()  # with their routing keys
        self._unsent_bytes = 0
        self._has_unsent = asyncio.Event()
        self._peer_heard_at = 0.0  # in the loop's seconds
        self._tasks: list[asyncio.Task[None]] = []  # as long as the connection lives
        self._handling: set[asyncio.Task[None]] = set()
        self._consumer_checks: dict[str, _ConsumerCheck] = {}
        self._reconnect_task: asyncio.Task[None] | None = None

    @property
    def unsent_bytes(self) -> int:
        """How much of what was published has not gone to the socket yet."""
        return self._unsent_bytes

    async def open(self) -> None:
        first = asyncio.Event()
        self._reconnect_task = asyncio.create_task(self._reconnect_loop(first))
        await first.wait()

    async def close(self) -> None:
        if self._reconnect_task is not None:
            self._reconnect_task.cancel()
            await asyncio.gather(self._reconnect_task, return_exceptions=True)
        checks = [check.answer for check in self._consumer_checks.values()]
        await cancel_and_wait([*self._handling, *checks])

    def subscribe(self, handler: EventHandler) -> None:
        self._subscribers.append(handler)

    def follow(self, topics: Collection[int]) -> None:
        if topics != self._topics:
            self._topics = frozenset(topics)
            self._topics_changed.set()

    def has_listeners(self) -> bool:
        # For a process that is alone, the broker is a third of what a message costs.
        return self.up and asyncio.get_running_loop().time() - self._peer_heard_at < PEER_TIMEOUT_S

    def publish(self, body: bytes, topics: Collection[int] = ()) -> None:
        if self.has_listeners() and self._unsent_bytes + len(body) <= MAX_UNSENT_BYTES:
            self._unsent.append((body, [*map(str, topics)] or [EVERYBODY]))
            self._unsent_bytes += len(body)
            self._has_unsent.set()

    def declare(self, queue: str) -> None:
        self._declared.append(queue)

    def consume(self, queue: str, consumer: Consumer) -> None:
        self._consumers[queue] = consumer

    async def has_consumers(self, queue: str) -> bool:
        if self._connection is None or not self.up:
            return False
        check, now = self._consumer_checks.get(queue), asyncio.get_running_loop().time()
        if check is None or (check.answer.done() and now - check.asked_at >= CONSUMER_CHECK_S):
            answer = asyncio.create_task(self._check_consumers(self._connection, queue))
            check = self._consumer_checks[queue] = _ConsumerCheck(now, answer)
        await asyncio.wait([check.answer])  # unlike an await of the task, this does not cancel it for the others
        return not check.answer.cancelled() and check.answer.result()

    async def enqueue(self, queue: str, message: QueueMessage, *, expires_s: float) -> None:
        connection = self._require_connection()
        assert self._queue_channel is not None
        properties = spec.Basic.Properties(
            content_type="application/json",
            delivery_mode=PERSISTENT,
            correlation_id=message.correlation_id,
            expiration=str(round(expires_s * 1000)),
        )
        publishing = self._queue_channel.basic_publish(
            message.body, routing_key=self._prefix + queue, properties=properties, mandatory=True
        )
        try:
            await within(ENQUEUE_TIMEOUT_S, publishing)
        except aiormq.DeliveryError:  # returned or refused by the broker
            await self._declare_queues(connection)  # if this one was deleted, the next attempt finds it
            raise Unavailable("No bot listens to this command. Try again later.") from None
        except BROKER_ERRORS as error:
            raise OutcomeUnknown("The broker did not confirm this. Repeat it with the same requestId.") from error

    def _require_connection(self) -> AbstractConnection:
        if self._connection is None or not self.up:
            raise Unavailable("The broker cannot be reached. Try again later.")
        return self._connection

    # --- events ---------------------------------------------------------------------------------------

    async def _publish_loop(self, channel: AbstractChannel) -> None:
        """Send what is published. Events need no confirms: the poll finds what a lost one would have told."""
        undrained = 0
        while True:
            await self._has_unsent.wait()
            while self._unsent:
                body, (routing_key, *others) = self._unsent.popleft()
                self._unsent_bytes -= len(body)
                undrained += len(body)
                drains = undrained > DRAIN_BYTES
                # BCC is RabbitMQ's own: further routing keys of a message, of which a queue still gets one copy.
                headers: dict[str, Any] = {"BCC": others} if others else {}
                properties = spec.Basic.Properties(
                    delivery_mode=1, app_id=self._sender_id, message_id="event", headers=headers
                )
                await channel.basic_publish(  # type: ignore[call-arg]  # `wait` is missing in their abstract class
                    body, exchange=self._exchange, routing_key=routing_key, properties=properties, wait=drains
                )
                undrained = 0 if drains else undrained
            self._has_unsent.clear()

    async def _follow_loop(self, channel: AbstractChannel, queue: str) -> None:
        """Bind the queue to the topics that are followed. What comes in between is lost, and found by the poll."""
        bound: set[int] = set()
        while True:
            self._topics_changed.clear()
            for topic in self._topics - bound:
                await channel.queue_bind(queue, self._exchange, str(topic), timeout=SETUP_TIMEOUT_S)
                bound.add(topic)
            for topic in bound - self._topics:
                await channel.queue_unbind(queue, self._exchange, str(topic), timeout=SETUP_TIMEOUT_S)
                bound.discard(topic)
            await self._topics_changed.wait()

    async def _consume_events(self, channel: AbstractChannel) -> str:
        """Consume a queue of this process's own, which gets what has no topic. Return its name."""
        declared = await channel.queue_declare(exclusive=True, timeout=SETUP_TIMEOUT_S)
        name = declared.queue or ""
        await channel.queue_bind(name, self._exchange, EVERYBODY, timeout=SETUP_TIMEOUT_S)

        def received(message: DeliveredMessage) -> None:
            if message.header.properties.app_id == self._sender_id:
                return  # delivered here before it was published
            self._peer_heard_at = asyncio.get_running_loop().time()
            for handler in self._subscribers if message.body else ():
                handler(message.body)

        # A plain function: aiormq keeps the order only for these.
        await channel.basic_consume(name, received, no_ack=True, timeout=SETUP_TIMEOUT_S)  # type: ignore[arg-type]
        return name

    # --- the connection -------------------------------------------------------------------------------

    async def _reconnect_loop(self, first: asyncio.Event) -> None:
        """Connect, wait until something dies, begin anew. `first` is set after the first attempt."""
        pause, logged = RECONNECT_BACKOFF_S[0], False
        while True:
            try:
                broken = await within(CONNECT_TIMEOUT_S, self._connect())
                pause, logged = RECONNECT_BACKOFF_S[0], False
                self._peer_heard_at = asyncio.get_running_loop().time()  # perhaps; they have not spoken yet
                self._set_up(await self._send_beacon())
                first.set()
                await self._watch(broken)
                self._set_up(False)
            except Exception as error:
                if not logged:
                    log.warning("the broker cannot be reached (%r); trying again", error)
                logged = True
            finally:
                first.set()
                await self._disconnect()
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))
            pause = min(pause * 2, RECONNECT_BACKOFF_S[1])

    async def _watch(self, broken: asyncio.Event) -> None:
        """Return when a part is dead. A broker that is frozen or out of memory is not dead, but confirms nothing."""
        while not broken.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(BEACON_INTERVAL_S):
                    await broken.wait()
                    return
            self._set_up(await self._send_beacon())

    def _set_up(self, up: bool) -> None:
        if up and not self.up:
            log.info("the broker works")
        elif self.up and not up:
            log.warning("the broker is gone or stuck; chat goes on by the poll")
        self.up = up

    async def _send_beacon(self) -> bool:
        """Send an event without a body: to the others, or from a bot, which takes no events, to nobody. Return whether
        the broker confirms it."""
        assert self._queue_channel is not None
        properties = spec.Basic.Properties(delivery_mode=1, app_id=self._sender_id)
        beacon = self._queue_channel.basic_publish(
            b"",
            exchange=self._exchange if self._subscribers else "",
            routing_key=EVERYBODY if self._subscribers else NOBODY,
            properties=properties,
        )
        try:
            await within(BEACON_TIMEOUT_S, beacon)
        except BROKER_ERRORS as error:
            log.debug("the broker did not confirm: %r", error)
            return False
        return True

    async def _connect(self) -> asyncio.Event:
        """Make the connection and all channels. The returned event is set when any of them dies."""
        broken = asyncio.Event()
        connection = self._connection = await within(SETUP_TIMEOUT_S, aiormq.connect(self._url))
        self._queue_channel = await self._channel(connection, broken)
        await self._queue_channel.exchange_declare(
            self._exchange, exchange_type="direct", durable=True, timeout=SETUP_TIMEOUT_S
        )
        self._start(self._publish_loop(await self._channel(connection, broken, confirms=False)), broken)
        if self._subscribers:
            channel = await self._channel(connection, broken)
            self._start(self._follow_loop(channel, await self._consume_events(channel)), broken)
        await self._declare_queues(connection)
        for queue, consumer in self._consumers.items():
            tried = asyncio.Event()
            self._tasks.append(asyncio.create_task(self._consume_loop(connection, queue, consumer, tried)))
            await tried.wait()
        connection.closing.add_done_callback(lambda _: broken.set())
        return broken

    def _start(self, loop: Coroutine[Any, Any, None], broken: asyncio.Event) -> None:
        """Run an endless loop as long as the connection lives. When it ends, the connection is made anew."""
        task = asyncio.create_task(loop)
        task.add_done_callback(lambda _: broken.set())
        task.add_done_callback(lambda task: task.cancelled() or task.exception())  # what it was is told by the next try
        self._tasks.append(task)

    async def _disconnect(self) -> None:
        connection, self._connection, self._queue_channel = self._connection, None, None
        self.up = False
        await cancel_and_wait(self._tasks)
        self._tasks.clear()
        self._unsent.clear()
        self._unsent_bytes = 0
        if connection is not None and not connection.is_closed:
            try:
                await within(CLOSE_TIMEOUT_S, connection.close())
            except Exception as error:
                log.debug("closing the broken connection: %r", error)

    async def _channel(
        self, connection: AbstractConnection, broken: asyncio.Event, *, confirms: bool = True
    ) -> AbstractChannel:
        channel = await connection.channel(publisher_confirms=confirms, timeout=SETUP_TIMEOUT_S)
        channel.closing.add_done_callback(lambda _: broken.set())
        channel.on_consumer_cancel_callbacks.add(lambda _: broken.set())
        return channel

    # --- queues ---------------------------------------------------------------------------------------

    async def _declare_queues(self, connection: AbstractConnection) -> None:
        """Declare what this side declares. A queue that exists with other properties is used as it is."""

        async def declare(name: str) -> None:
            channel = await connection.channel(timeout=SETUP_TIMEOUT_S)
            with suppress(aiormq.ChannelPreconditionFailed):  # which closes the channel
                await channel.queue_declare(name, durable=True, timeout=SETUP_TIMEOUT_S)
                await channel.close()

        for queue in self._declared:
            try:
                await within(SETUP_TIMEOUT_S, declare(self._prefix + queue))
            except BROKER_ERRORS as error:
                log.warning("the queue %s cannot be declared: %r", self._prefix + queue, error)

    async def _check_consumers(self, connection: AbstractConnection, queue: str) -> bool:
        async def count() -> int:
            # On a channel of its own: a passive declare of a queue that does not exist closes the channel.
            channel = await connection.channel(timeout=SETUP_TIMEOUT_S)
            declared = await channel.queue_declare(self._prefix + queue, passive=True, timeout=SETUP_TIMEOUT_S)
            await channel.close()
            return declared.consumer_count or 0

        try:
            return await within(ENQUEUE_TIMEOUT_S, count()) > 0
        except BROKER_ERRORS:
            return False

    async def _consume_loop(
        self, connection: AbstractConnection, queue: str, consumer: Consumer, tried: asyncio.Event
    ) -> None:
        """Consume a queue whenever it exists. `tried` is set after the first attempt."""
        name, logged = self._prefix + queue, False
        while True:
            channel: AbstractChannel | None = None
            try:
                channel = await within(SETUP_TIMEOUT_S, connection.channel(timeout=SETUP_TIMEOUT_S))
                ended = await within(SETUP_TIMEOUT_S, self._start_consumer(channel, name, consumer))
                tried.set()
                log.info("the queue %s is consumed", name)
                logged = False
                await ended.wait()
                log.info("the queue %s was deleted, or its channel died", name)
            except Exception as error:
                if not logged:
                    reason = "it does not exist" if isinstance(error, aiormq.ChannelNotFoundEntity) else repr(error)
                    log.info("the queue %s cannot be consumed yet (%s); trying again", name, reason)
                logged = True
            tried.set()
            if channel is not None:
                with suppress(Exception):
                    await within(CLOSE_TIMEOUT_S, channel.close())
            await asyncio.sleep(QUEUE_RETRY_S)
            await self._declare_queues(connection)

    async def _start_consumer(self, channel: AbstractChannel, name: str, consumer: Consumer) -> asyncio.Event:
        """Return an event that is set when the queue is deleted or the channel dies. Raises `ChannelNotFoundEntity`."""
        ended = asyncio.Event()
        channel.closing.add_done_callback(lambda _: ended.set())
        channel.on_consumer_cancel_callbacks.add(lambda _: ended.set())
        await channel.basic_qos(prefetch_count=PREFETCH, timeout=SETUP_TIMEOUT_S)

        def arrived(message: DeliveredMessage) -> None:
            task = asyncio.create_task(self._run_consumer(channel, message, consumer))
            self._handling.add(task)
            task.add_done_callback(self._handling.discard)

        await channel.basic_consume(name, arrived, timeout=SETUP_TIMEOUT_S)  # type: ignore[arg-type]
        return ended

    async def _run_consumer(self, channel: AbstractChannel, message: DeliveredMessage, consumer: Consumer) -> None:
        tag = message.delivery_tag or 0
        correlation_id = message.header.properties.correlation_id
        try:
            try:
                await consumer(QueueMessage(message.body, correlation_id))
            except (Unavailable, OutcomeUnknown) as error:
                log.warning("a message could not be handled and is requeued: %s", error.text)
                await asyncio.sleep(REQUEUE_DELAY_S)
                await channel.basic_nack(tag)
                return
            except Exception:
                log.exception("a message can never be handled and is dropped")
            await channel.basic_ack(tag)
        except Exception as error:  # the channel died: the broker requeues the message
            log.debug("a message could not be acked: %r", error)


async def can_connect(url: str, timeout_s: float) -> bool:
    """Whether a connection to the URL can be made. It is closed again."""
    try:
        connection = await within(timeout_s, aiormq.connect(url))
    except BROKER_ERRORS:
        return False
    with suppress(*BROKER_ERRORS):
        await within(CLOSE_TIMEOUT_S, connection.close())
    return True
