"""The wire between processes and to the robots, as the rest of the server sees it.

Two bodies of one protocol: `AmqpBroker` in amqp.py speaks to RabbitMQ, `LocalBroker` in local.py stays inside one
process (`AMQP_URL=local:`); brokers.py chooses. Both carry two kinds of traffic:

    ring / on_ring      the doorbell, to every process: fast, lossy, never waited for. Whoever misses one finds
                        the events in PostgreSQL.
    send / serve        a named queue, to one of its consumers: confirmed, acked when handled.
"""

from collections.abc import Awaitable, Callable
from typing import NamedTuple, Protocol

RETRY_S = 1.0  # before a letter that could not be handled is offered again


class Letter(NamedTuple):
    """What came from a queue."""

    body: bytes
    correlation_id: str | None


Hear = Callable[[bytes], None]
Handle = Callable[[Letter], Awaitable[None]]


class Broker(Protocol):
    """What the server and the robot use. `on_ring` and `serve` are called before `open`."""

    up: bool  # whether it works at the moment

    async def open(self) -> None:
        """Starts. Does not wait until the broker is there."""

    async def close(self) -> None:
        """Ends it all; what is not acked stays in its queue."""

    def on_ring(self, hear: Hear) -> None:
        """`hear` gets every ring, of this process too, in order; it must not block."""

    def ring(self, body: bytes) -> None:
        """Tells every process. Never waits, never fails."""

    def serve(self, queue: str, handle: Handle) -> None:
        """Consumes a queue. A letter is acked when `handle` returns, and offered again when that raises `Unavailable`
        or `OutcomeUnknown`; any other error would come again with it, so it is logged, and the letter dropped."""

    async def served(self, queue: str) -> bool:
        """Whether anybody consumes the queue. False as well when the broker cannot say."""

    async def send(self, queue: str, letter: Letter, *, expires_s: float) -> None:
        """Puts a letter into a queue, where it is thrown away after `expires_s` seconds.

        Raises `Unavailable`: certainly not sent; `OutcomeUnknown`: perhaps.
        """
