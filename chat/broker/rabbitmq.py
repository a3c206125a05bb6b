"""`Broker` on RabbitMQ. The only module that knows aiormq. See base.py.

The exchange chat.events (fanout) carries what is published, the default exchange the messages of the queues.

    _reconnect_loop   keeps the connection and the channels for publishing: when one of them dies, all are made anew
    _consume_loop     one for each queue that is consumed, as long as the connection lives; looks for the queue once a
                      second while it is missing
"""

import asyncio
import logging
import random
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, NamedTuple, TypeVar

import aiormq
from aiormq import spec
from aiormq.abc import AbstractChannel, AbstractConnection, DeliveredMessage

from chat.aio import being_cancelled, cancel_and_wait
from chat.broker.base import REQUEUE_DELAY_S, Consumer, EventHandler, QueueMessage
from chat.errors import OutcomeUnknown, Unavailable

log = logging.getLogger(__name__)

EVENTS_EXCHANGE = "chat.events"
MAX_PENDING_PUBLISHES = 8  # beyond that they are dropped, so that memory stays flat while the broker hangs
PUBLISH_TIMEOUT_S = 2.0
ENQUEUE_TIMEOUT_S = 3.0
PROBE_ROUTING_KEY = "chat.nobody"  # names no queue: the broker confirms the message and drops it
PROBE_INTERVAL_S = 1.0  # between two probes whether the broker still works
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

T = TypeVar("T")


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
        self._publish_channel: AbstractChannel | None = None
        self._queue_channel: AbstractChannel | None = None
        self._pending_publishes: set[asyncio.Task[bool]] = set()
        self._consume_tasks: list[asyncio.Task[None]] = []
        self._handling: set[asyncio.Task[None]] = set()
        self._consumer_checks: dict[str, _ConsumerCheck] = {}
        self._reconnect_task: asyncio.Task[None] | None = None

    @property
    def pending_publishes(self) -> int:
        """How many publishes wait for their confirmation."""
        return len(self._pending_publishes)

    async def open(self) -> None:
        first = asyncio.Event()
        self._reconnect_task = asyncio.create_task(self._reconnect_loop(first))
        await first.wait()

    async def close(self) -> None:
        if self._reconnect_task is not None:
            self._reconnect_task.cancel()
            await asyncio.gather(self._reconnect_task, return_exceptions=True)
        checks = [check.answer for check in self._consumer_checks.values()]
        await cancel_and_wait([*self._pending_publishes, *self._handling, *checks])

    def subscribe(self, handler: EventHandler) -> None:
        self._subscribers.append(handler)

    def publish(self, body: bytes) -> None:
        if self._publish_channel is None or not self.up or len(self._pending_publishes) >= MAX_PENDING_PUBLISHES:
            return
        task = asyncio.create_task(self._publish(self._publish_channel, self._exchange, body))
        self._pending_publishes.add(task)
        task.add_done_callback(self._pending_publishes.discard)

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
        try:
            await self._queue_channel.basic_publish(
                message.body,
                routing_key=self._prefix + queue,
                properties=properties,
                mandatory=True,
                timeout=ENQUEUE_TIMEOUT_S,
            )
        except aiormq.DeliveryError:  # returned or refused by the broker
            await self._declare_queues(connection)  # if this one was deleted, the next attempt finds it
            raise Unavailable("No bot listens to this command. Try again later.") from None
        except BROKER_ERRORS as error:
            raise OutcomeUnknown("The broker did not confirm this. Repeat it with the same requestId.") from error
        except asyncio.CancelledError:
            if being_cancelled():
                raise
            raise OutcomeUnknown("The broker did not confirm this. Repeat it with the same requestId.") from None

    def _require_connection(self) -> AbstractConnection:
        if self._connection is None or not self.up:
            raise Unavailable("The broker cannot be reached. Try again later.")
        return self._connection

    async def _publish(self, channel: AbstractChannel, exchange: str, body: bytes) -> bool:
        """Publish and return whether it was confirmed. The poll finds what a lost notification would have told."""
        try:
            await channel.basic_publish(
                body, exchange=exchange, routing_key=PROBE_ROUTING_KEY, timeout=PUBLISH_TIMEOUT_S
            )
        except BROKER_ERRORS as error:
            log.debug("the broker did not confirm: %r", error)
            return False
        except asyncio.CancelledError:
            if being_cancelled():
                raise
            return False
        return True

    # --- the connection -------------------------------------------------------------------------------

    async def _reconnect_loop(self, first: asyncio.Event) -> None:
        """Connect, wait until something dies, begin anew. `first` is set after the first attempt."""
        pause, logged = RECONNECT_BACKOFF_S[0], False
        while True:
            try:
                broken = await _within(CONNECT_TIMEOUT_S, self._connect())
                pause, logged = RECONNECT_BACKOFF_S[0], False
                self._set_up(True)
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
            assert self._publish_channel is not None
            self._set_up(await self._publish(self._publish_channel, "", b""))
            with suppress(TimeoutError):
                async with asyncio.timeout(PROBE_INTERVAL_S):
                    await broken.wait()

    def _set_up(self, up: bool) -> None:
        if up and not self.up:
            log.info("the broker works")
        elif self.up and not up:
            log.warning("the broker is gone or stuck; chat goes on by the poll")
        self.up = up

    async def _connect(self) -> asyncio.Event:
        """Make the connection and all channels. The returned event is set when any of them dies."""
        broken = asyncio.Event()
        connection = self._connection = await _within(SETUP_TIMEOUT_S, aiormq.connect(self._url))
        self._publish_channel = await self._channel(connection, broken)
        self._queue_channel = await self._channel(connection, broken)
        await self._publish_channel.exchange_declare(
            self._exchange, exchange_type="fanout", durable=True, timeout=SETUP_TIMEOUT_S
        )
        if self._subscribers:
            await self._consume_events(await self._channel(connection, broken))
        await self._declare_queues(connection)
        for queue, consumer in self._consumers.items():
            tried = asyncio.Event()
            self._consume_tasks.append(asyncio.create_task(self._consume_loop(connection, queue, consumer, tried)))
            await tried.wait()
        connection.closing.add_done_callback(lambda _: broken.set())
        return broken

    async def _disconnect(self) -> None:
        connection, self._connection, self._publish_channel, self._queue_channel = self._connection, None, None, None
        self.up = False
        await cancel_and_wait(self._consume_tasks)
        self._consume_tasks.clear()
        if connection is not None and not connection.is_closed:
            try:
                await _within(CLOSE_TIMEOUT_S, connection.close())
            except Exception as error:
                log.debug("closing the broken connection: %r", error)

    async def _channel(self, connection: AbstractConnection, broken: asyncio.Event) -> AbstractChannel:
        channel = await connection.channel(timeout=SETUP_TIMEOUT_S)
        channel.closing.add_done_callback(lambda _: broken.set())
        channel.on_consumer_cancel_callbacks.add(lambda _: broken.set())
        return channel

    async def _consume_events(self, channel: AbstractChannel) -> None:
        declared = await channel.queue_declare(exclusive=True, timeout=SETUP_TIMEOUT_S)
        name = declared.queue or ""
        await channel.queue_bind(name, self._exchange, timeout=SETUP_TIMEOUT_S)

        def received(message: DeliveredMessage) -> None:
            for handler in self._subscribers:
                handler(message.body)

        # A plain function: aiormq keeps the order only for these.
        await channel.basic_consume(name, received, no_ack=True, timeout=SETUP_TIMEOUT_S)  # type: ignore[arg-type]

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
                await _within(SETUP_TIMEOUT_S, declare(self._prefix + queue))
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
            return await _within(ENQUEUE_TIMEOUT_S, count()) > 0
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
                channel = await _within(SETUP_TIMEOUT_S, connection.channel(timeout=SETUP_TIMEOUT_S))
                ended = await _within(SETUP_TIMEOUT_S, self._start_consumer(channel, name, consumer))
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
                    await _within(CLOSE_TIMEOUT_S, channel.close())
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


async def _within(seconds: float, doing: Coroutine[Any, Any, T]) -> T:
    """Await with a time limit, even if the coroutine ignores its cancellation: aiormq's calls may wait for room in the
    very queue of frames that is stuck. Raises TimeoutError, and ConnectionError if aiormq has cancelled the call."""
    task = asyncio.ensure_future(doing)
    task.add_done_callback(lambda task: task.cancelled() or task.exception())  # nobody may await it any more
    try:
        done, _ = await asyncio.wait([task], timeout=seconds)
    finally:
        task.cancel()
    if not done:
        raise TimeoutError
    if task.cancelled():
        raise ConnectionError("aiormq has cancelled the call")
    return task.result()


async def can_connect(url: str, timeout_s: float) -> bool:
    """Whether a connection to the URL can be made. It is closed again."""
    try:
        connection = await _within(timeout_s, aiormq.connect(url))
    except BROKER_ERRORS:
        return False
    with suppress(*BROKER_ERRORS):
        await _within(CLOSE_TIMEOUT_S, connection.close())
    return True
