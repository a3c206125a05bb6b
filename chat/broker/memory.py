"""The broker of one process, without any server: `AMQP_URL=local:`. See broker.py."""

import asyncio
import logging

from chat.broker.base import RETRY_S, Handle, Hear, Letter
from chat.errors import OutcomeUnknown, Unavailable

log = logging.getLogger(__name__)


class LocalBroker:
    """Everything arrives on the next tick of the loop, in order."""

    def __init__(self) -> None:
        self.up = False
        self._hear: list[Hear] = []
        self._handlers: dict[str, Handle] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        self.up = True

    async def close(self) -> None:
        self.up = False
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def on_ring(self, hear: Hear) -> None:
        self._hear.append(hear)

    def ring(self, body: bytes) -> None:
        for hear in self._hear:
            asyncio.get_running_loop().call_soon(hear, body)

    def serve(self, queue: str, handle: Handle) -> None:
        self._handlers[queue] = handle

    async def served(self, queue: str) -> bool:
        return self.up and queue in self._handlers

    async def send(self, queue: str, letter: Letter, *, expires_s: float) -> None:
        if not await self.served(queue):
            raise Unavailable("nobody listens to this; try again later")
        task = asyncio.create_task(self._deliver(queue, letter, expires_s))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _deliver(self, queue: str, letter: Letter, expires_s: float) -> None:
        deadline = asyncio.get_running_loop().time() + expires_s
        while asyncio.get_running_loop().time() < deadline:
            try:
                return await self._handlers[queue](letter)
            except (Unavailable, OutcomeUnknown) as error:
                log.warning("a letter could not be handled (%s); it is offered again", error.text)
                await asyncio.sleep(RETRY_S)
            except Exception:
                log.exception("a letter could not be handled, and never will be; it is dropped")
                return
