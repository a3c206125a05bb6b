"""The broker as the rest of the server sees it: publish/subscribe between processes, and queues to the bots.

`RabbitBroker` in rabbitmq.py speaks to RabbitMQ, `MemoryBroker` in memory.py stays inside one process
(`AMQP_URL=memory:`); factory.py chooses. Both carry two kinds of traffic:

    publish / subscribe   to the other processes, or to those that follow a topic: fast, at most once, never waited
                          for. The relay finds in PostgreSQL what a process has missed.
    enqueue / consume     through a named queue to one of its consumers: confirmed, and acked when handled.

A bot declares the queues between it and the server, with the properties that it likes; the server uses what is there.
"""

from collections.abc import Awaitable, Callable, Collection
from typing import NamedTuple, Protocol

REQUEUE_DELAY_S = 1.0  # before a message that could not be handled goes back to its queue


class QueueMessage(NamedTuple):
    """A message of a queue. `correlation_id`: the command that it belongs to."""

    body: bytes
    correlation_id: str | None


EventHandler = Callable[[bytes], None]
Consumer = Callable[[QueueMessage], Awaitable[None]]


class Broker(Protocol):
    """What the server and the bots use. Call `subscribe`, `declare` and `consume` before `open`."""

    up: bool  # whether the broker works at the moment

    async def open(self) -> None:
        """Start. Does not wait until the broker can be reached."""

    async def close(self) -> None:
        """Stop. A message that is not acked stays in its queue."""

    def subscribe(self, handler: EventHandler) -> None:
        """Pass every published body to `handler`, in order, also those of this process. `handler` must not block."""

    def follow(self, topics: Collection[int]) -> None:
        """From soon on, take what is published under these topics, and what is published without one."""

    def has_listeners(self) -> bool:
        """Whether another process may get what is published now."""

    def publish(self, body: bytes, topics: Collection[int] = ()) -> None:
        """Send to the other processes that follow one of the topics, or without any to all.

        Never waits, never fails; may be lost.
        """

    def declare(self, queue: str) -> None:
        """Keep a queue in existence: create it, durable, when it is missing. One that exists is used as it is."""

    def consume(self, queue: str, consumer: Consumer) -> None:
        """Consume a queue as soon as it exists, and again after it was deleted and created anew.

        A message is acked when `consumer` returns, and requeued when it raises `Unavailable` or `OutcomeUnknown`. Any
        other error would come again with the message, so it is logged and the message dropped.
        """

    async def has_consumers(self, queue: str) -> bool:
        """Whether anybody consumes the queue, as it was at most a second ago. False also when the broker cannot say."""

    async def enqueue(self, queue: str, message: QueueMessage, *, expires_s: float) -> None:
        """Put a message into a queue. The broker drops it after `expires_s` seconds.

        Raises `Unavailable`: certainly not sent; `OutcomeUnknown`: perhaps.
        """
