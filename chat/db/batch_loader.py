"""Reads that wait at the same time share a query, as writes share a batch in the event writer.

    load ─ load ─ load ─┐ while other queries run             ┌─ result to each caller
                        └→ one query for all that wait, once each ┘

A query begins after the last of the calls that it answers, so each result is as fresh as if it had been read for it
alone. A lone call waits for nothing; a thousand connections that come back at the same time are a few queries.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from itertools import islice
from typing import Any, Generic, TypeVar

from chat.aio import being_cancelled
from chat.errors import Unavailable

K = TypeVar("K")
V = TypeVar("V")

MAX_CONCURRENT_LOADS = 2  # one that hangs does not hold up all others
WAIT_TIMEOUT_S = 10.0  # a caller whose query has not begun by then gets `Unavailable`


class BatchLoader(Generic[K, V]):
    """Coalesces concurrent `load` calls into one `load_many` of up to `max_batch_size` keys.

    At most `max_concurrent` loads run at the same time. If `load_many` raises, every caller of that batch gets the
    exception.
    """

    def __init__(
        self,
        load_many: Callable[[list[K]], Awaitable[Mapping[K, V]]],
        *,
        max_batch_size: int,
        max_concurrent: int = MAX_CONCURRENT_LOADS,
    ) -> None:
        self._load_many, self._max_batch_size, self._max_concurrent = load_many, max_batch_size, max_concurrent
        self._waiting: dict[K, list[tuple[float, asyncio.Future[V]]]] = {}  # with the time of the call
        self._workers: set[asyncio.Task[Any] | None] = set()

    async def load(self, key: K) -> V:
        """What `load_many` finds for the key, read after this call. Raises what it raises, and `Unavailable`."""
        loop = asyncio.get_running_loop()
        result: asyncio.Future[V] = loop.create_future()
        self._waiting.setdefault(key, []).append((loop.time(), result))
        if len(self._workers) < self._max_concurrent:
            self._workers.add(asyncio.create_task(self._work()))
        return await result

    async def _work(self) -> None:
        try:
            while self._waiting:
                if batch := self._take_batch():
                    await self._load_batch(batch)
        finally:
            self._workers.discard(asyncio.current_task())  # in this tick: a call in the next one starts another

    def _take_batch(self) -> dict[K, list[asyncio.Future[V]]]:
        """The oldest calls, without those whose callers went away or have waited for too long."""
        oldest = asyncio.get_running_loop().time() - WAIT_TIMEOUT_S
        batch: dict[K, list[asyncio.Future[V]]] = {}
        for key in list(islice(self._waiting, self._max_batch_size)):
            for called_at, result in self._waiting.pop(key):
                if result.done():
                    continue
                if called_at < oldest:
                    result.set_exception(Unavailable("The database is busy or gone. Try again in a moment."))
                else:
                    batch.setdefault(key, []).append(result)
        return batch

    async def _load_batch(self, batch: dict[K, list[asyncio.Future[V]]]) -> None:
        try:
            found = await self._load_many(list(batch))
            results = [(result, found[key]) for key, callers in batch.items() for result in callers]
        except (Exception, asyncio.CancelledError) as error:
            # Cancelled is this worker, or a library from inside it: neither ends the callers.
            interrupted = Unavailable("The request was interrupted. Try again.")
            for callers in batch.values():
                for result in callers:
                    if not result.done():
                        result.set_exception(error if isinstance(error, Exception) else interrupted)
            if being_cancelled():
                raise
        else:
            for result, value in results:
                if not result.done():
                    result.set_result(value)
