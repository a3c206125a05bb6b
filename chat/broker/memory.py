"""The broker inside one process, without any server: `AMQP_URL=memory:`. See base.py."""

import asyncio
import logging
from collections.abc import Collection

from chat.broker.base import REQUEUE_DELAY_S, Consumer, EventHandler, QueueMessage
from chat.errors import OutcomeUnknown, Unavailable

log = logging.getLogger(__name__)


class MemoryBroker:
    """The queues of one process."""

    def __init__(self) -> None:
        self.up = False
        self._consumers: dict[str, Consumer] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        self.up = True

    async def close(self) -> None:
        self.up = False
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def subscribe(self, handler: EventHandler) -> None:
        """Do nothing: nothing comes from elsewhere."""

    def follow(self, topics: Collection[int]) -> None:
        """Do nothing: nothing comes from elsewhere."""

    def has_listeners(self) -> bool:
        return False

    def publish(self, body: bytes, topics: Collection[int] = ()) -> None:
        """Do nothing: there is no other process."""

    def declare(self, queue: str) -> None:
        """Do nothing: here, a queue is its consumer."""

    def consume(self, queue: str, consumer: Consumer) -> None:
        self._consumers[queue] = consumer

    async def has_consumers(self, queue: str) -> bool:
        return self.up and queue in self._consumers

    async def enqueue(self, queue: str, message: QueueMessage, *, expires_s: float) -> None:
        if not await self.has_consumers(queue):
            raise Unavailable("No bot listens to this command. Try again later.")
        task = asyncio.create_task(self._deliver(queue, message, expires_s))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _deliver(self, queue: str, message: QueueMessage, expires_s: float) -> None:
        deadline = asyncio.get_running_loop().time() + expires_s
        while asyncio.get_running_loop().time() < deadline:
            try:
                return await self._consumers[queue](message)
            except (Unavailable, OutcomeUnknown) as error:
                log.warning("a message of %s could not be handled and is requeued: %s", queue, error.text)
                await asyncio.sleep(REQUEUE_DELAY_S)
            except Exception:
                log.exception("a message of %s can never be handled and is dropped", queue)
                return
