"""The broker as RabbitMQ is one. The only module that knows aiormq. See broker.py.

The exchange chat.events (fanout) carries the rings, the default exchange the letters.
"""

import asyncio
import logging
import random
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, TypeVar

import aiormq
from aiormq import spec
from aiormq.abc import AbstractChannel, AbstractConnection, DeliveredMessage

from chat.aio import being_cancelled
from chat.broker.base import RETRY_S, Handle, Hear, Letter
from chat.errors import OutcomeUnknown, Unavailable

log = logging.getLogger(__name__)

RINGS_IN_FLIGHT = 8  # beyond that they are dropped: memory stays flat while the broker hangs
RING_S = 2.0
SEND_S = 3.0
NOBODY = "chat.nobody"  # a queue that does not exist: the broker confirms, and throws it away
BEAT_S = 1.0  # how often the broker is asked whether it still works
SETUP_S = 5.0  # for a step of connecting
CONNECT_S = 10.0  # … and for all of them
CLOSE_S = 1.0
HEARTBEAT_S = 10
RECONNECT_S = (0.1, 5.0)  # pauses between tries grow from the first to the second, each with jitter
PREFETCH = 16  # letters taken from a queue and not yet handled

T = TypeVar("T")


class AmqpBroker:
    """One task keeps connection and channels alive: when any of them dies, all begin anew."""

    def __init__(self, url: str, *, prefix: str, durable: bool) -> None:
        self.up = False
        self._url = url + ("&" if "?" in url else "?") + f"heartbeat={HEARTBEAT_S}"
        self._exchange, self._prefix, self._durable = prefix + "chat.events", prefix, durable
        self._hear: list[Hear] = []
        self._handlers: dict[str, Handle] = {}
        self._connection: AbstractConnection | None = None
        self._out: AbstractChannel | None = None  # rings
        self._post: AbstractChannel | None = None  # letters
        self._rings: set[asyncio.Task[bool]] = set()
        self._letters: set[asyncio.Task[None]] = set()
        self._keeper: asyncio.Task[None] | None = None

    async def open(self) -> None:
        first = asyncio.Event()
        self._keeper = asyncio.create_task(self._keep(first))
        await first.wait()

    async def close(self) -> None:
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.gather(self._keeper, return_exceptions=True)
        for task in self._rings | self._letters:
            task.cancel()
        await asyncio.gather(*self._rings, *self._letters, return_exceptions=True)

    def on_ring(self, hear: Hear) -> None:
        self._hear.append(hear)

    def ring(self, body: bytes) -> None:
        if self._out is None or not self.up or len(self._rings) >= RINGS_IN_FLIGHT:
            return
        task = asyncio.create_task(self._publish(self._out, self._exchange, body))
        self._rings.add(task)
        task.add_done_callback(self._rings.discard)

    def serve(self, queue: str, handle: Handle) -> None:
        self._handlers[queue] = handle

    async def served(self, queue: str) -> bool:
        try:
            return await _within(SEND_S, self._consumers(self._alive(), self._prefix + queue)) > 0
        except (aiormq.AMQPError, OSError, TimeoutError, RuntimeError, Unavailable):
            return False
        except asyncio.CancelledError:
            if being_cancelled():
                raise
            return False

    async def send(self, queue: str, letter: Letter, *, expires_s: float) -> None:
        self._alive()
        assert self._post is not None
        properties = spec.Basic.Properties(
            content_type="application/json",
            delivery_mode=2 if self._durable else 1,
            correlation_id=letter.correlation_id,
            expiration=str(round(expires_s * 1000)),
        )
        try:
            await self._post.basic_publish(
                letter.body,
                routing_key=self._prefix + queue,
                properties=properties,
                mandatory=True,
                timeout=SEND_S,
            )
        except aiormq.DeliveryError:  # returned or refused by the broker
            raise Unavailable("nobody listens to this; try again later") from None
        except (aiormq.AMQPError, OSError, TimeoutError, RuntimeError) as error:
            raise OutcomeUnknown("the broker did not confirm it") from error
        except asyncio.CancelledError:
            if being_cancelled():
                raise
            raise OutcomeUnknown("the broker did not confirm it") from None

    def _alive(self) -> AbstractConnection:
        if self._connection is None or not self.up:
            raise Unavailable("the broker cannot be reached; try again later")
        return self._connection

    async def _publish(self, channel: AbstractChannel, exchange: str, body: bytes) -> bool:
        """Whether it was confirmed; the sweep finds what a lost ring would have told."""
        try:
            await channel.basic_publish(body, exchange=exchange, routing_key=NOBODY, timeout=RING_S)
        except (aiormq.AMQPError, OSError, TimeoutError, RuntimeError) as error:
            log.debug("the broker did not confirm: %r", error)
            return False
        except asyncio.CancelledError:
            if being_cancelled():
                raise
            return False
        return True

    # --- the connection -------------------------------------------------------------------------------

    async def _keep(self, first: asyncio.Event) -> None:
        """Connects, waits until something dies, begins anew. `first` is set after the first try."""
        pause, told = RECONNECT_S[0], False
        while True:
            try:
                broken = await _within(CONNECT_S, self._connect())
                pause, told = RECONNECT_S[0], False
                self._note(True)
                first.set()
                await self._watch(broken)
                self._note(False)
            except Exception as error:
                if not told:
                    log.warning("the broker cannot be reached (%r); trying on", error)
                told = True
            except asyncio.CancelledError:
                if being_cancelled():
                    raise
            finally:
                first.set()
                await self._disconnect()
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))
            pause = min(pause * 2, RECONNECT_S[1])

    async def _watch(self, broken: asyncio.Event) -> None:
        """Returns when a part is dead. A broker that is frozen or out of memory is not, but confirms nothing."""
        while not broken.is_set():
            assert self._out is not None
            self._note(await self._publish(self._out, "", b""))
            with suppress(TimeoutError):
                async with asyncio.timeout(BEAT_S):
                    await broken.wait()

    def _note(self, up: bool) -> None:
        if up and not self.up:
            log.info("the broker is there")
        elif self.up and not up:
            log.warning("the broker is gone or stuck; chat goes on by the sweep")
        self.up = up

    async def _connect(self) -> asyncio.Event:
        """Everything that has to be there; the event is set when any part of it dies."""
        broken = asyncio.Event()
        connection = self._connection = await _within(SETUP_S, aiormq.connect(self._url))
        self._out = await self._channel(connection, broken)
        self._post = await self._channel(connection, broken)
        await self._out.exchange_declare(self._exchange, exchange_type="fanout", durable=True, timeout=SETUP_S)
        if self._hear:
            await self._listen(await self._channel(connection, broken))
        for queue, handle in self._handlers.items():
            await self._declare(connection, self._prefix + queue)
            await self._consume(await self._channel(connection, broken), self._prefix + queue, handle)
        connection.closing.add_done_callback(lambda _: broken.set())
        return broken

    async def _disconnect(self) -> None:
        connection, self._connection, self._out, self._post = self._connection, None, None, None
        self.up = False
        if connection is not None and not connection.is_closed:
            try:
                await _within(CLOSE_S, connection.close())
            except (Exception, asyncio.CancelledError) as error:
                if being_cancelled():
                    raise
                log.debug("closing the broken connection: %r", error)

    async def _channel(self, connection: AbstractConnection, broken: asyncio.Event) -> AbstractChannel:
        channel = await connection.channel(timeout=SETUP_S)
        channel.closing.add_done_callback(lambda _: broken.set())
        channel.on_consumer_cancel_callbacks.add(lambda _: broken.set())
        return channel

    async def _listen(self, channel: AbstractChannel) -> None:
        declared = await channel.queue_declare(exclusive=True, timeout=SETUP_S)
        name = declared.queue or ""
        await channel.queue_bind(name, self._exchange, timeout=SETUP_S)

        def heard(message: DeliveredMessage) -> None:
            for hear in self._hear:
                hear(message.body)

        # A plain function, because aiormq keeps the order only for those.
        await channel.basic_consume(name, heard, no_ack=True, timeout=SETUP_S)  # type: ignore[arg-type]

    async def _declare(self, connection: AbstractConnection, queue: str) -> None:
        """Makes the queue unless it exists: one that does is used as it is, durable or not."""
        try:
            await self._consumers(connection, queue)
        except aiormq.ChannelNotFoundEntity:
            channel = await connection.channel(timeout=SETUP_S)
            await channel.queue_declare(queue, durable=self._durable, timeout=SETUP_S)
            await channel.close()

    async def _consumers(self, connection: AbstractConnection, queue: str) -> int:
        # On a channel of its own: asking for a queue that does not exist closes it.
        channel = await connection.channel(timeout=SETUP_S)
        declared = await channel.queue_declare(queue, passive=True, timeout=SETUP_S)
        await channel.close()
        return declared.consumer_count or 0

    async def _consume(self, channel: AbstractChannel, queue: str, handle: Handle) -> None:
        await channel.basic_qos(prefetch_count=PREFETCH, timeout=SETUP_S)

        def arrived(message: DeliveredMessage) -> None:
            task = asyncio.create_task(self._handle(channel, message, handle))
            self._letters.add(task)
            task.add_done_callback(self._letters.discard)

        await channel.basic_consume(queue, arrived, timeout=SETUP_S)  # type: ignore[arg-type]

    async def _handle(self, channel: AbstractChannel, message: DeliveredMessage, handle: Handle) -> None:
        tag = message.delivery_tag or 0
        correlation_id = message.header.properties.correlation_id
        try:
            try:
                await handle(Letter(message.body, correlation_id))
            except (Unavailable, OutcomeUnknown) as error:
                log.warning("a letter could not be handled (%s); it is offered again", error.text)
                await asyncio.sleep(RETRY_S)
                await channel.basic_nack(tag)
                return
            except Exception:
                log.exception("a letter could not be handled, and never will be; it is dropped")
            await channel.basic_ack(tag)
        except Exception as error:  # the channel died: the broker offers the letter again by itself
            log.debug("a letter could not be answered: %r", error)


async def _within(seconds: float, doing: Coroutine[Any, Any, T]) -> T:
    """Raises TimeoutError in time, even if what is done does not heed its cancellation: aiormq's calls may wait
    for room in the very queue of frames that is stuck."""
    task = asyncio.ensure_future(doing)
    task.add_done_callback(lambda task: task.cancelled() or task.exception())  # perhaps nobody looks at it any more
    try:
        done, _ = await asyncio.wait([task], timeout=seconds)
    finally:
        task.cancel()
    if not done:
        raise TimeoutError
    return task.result()


async def opens(url: str, timeout_s: float) -> bool:
    """Whether the URL opens a connection, which is closed again."""
    try:
        connection = await _within(timeout_s, aiormq.connect(url))
    except (aiormq.AMQPError, OSError, TimeoutError):
        return False
    with suppress(aiormq.AMQPError, OSError, TimeoutError):
        await _within(CLOSE_S, connection.close())
    return True
