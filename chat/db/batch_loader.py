"""Reads that wait together share a query, as writes share a batch in the journal.

    ask ─ ask ─ ask ─┐ while the lanes are busy             ┌─ answer to each
                     └→ one load of all that wait, once each ┘

A load begins after the last of its asks, so each answer is as fresh as if it had been read for it alone. A lone
ask waits for nobody; a thousand sockets that come back at once are a few queries.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from itertools import islice
from typing import Any, Generic, TypeVar

from chat.aio import being_cancelled
from chat.errors import Unavailable

K = TypeVar("K")
V = TypeVar("V")

LANES = 2  # loads at once: one that hangs does not hold up all others
WAIT_S = 10.0  # who waits longer for his load to begin is told so


class Gather(Generic[K, V]):
    """`load` reads at most `most` keys at once; what it raises, all who asked for one of them get."""

    def __init__(self, load: Callable[[list[K]], Awaitable[Mapping[K, V]]], *, most: int) -> None:
        self._load, self._most = load, most
        self._waiting: dict[K, list[tuple[float, asyncio.Future[V]]]] = {}  # since when
        self._lanes: set[asyncio.Task[Any] | None] = set()

    async def get(self, key: K) -> V:
        """What `load` finds for the key, read after this call. Raises what it raises, and `Unavailable`."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[V] = loop.create_future()
        self._waiting.setdefault(key, []).append((loop.time(), answer))
        if len(self._lanes) < LANES:
            self._lanes.add(asyncio.create_task(self._lane()))
        return await answer

    async def _lane(self) -> None:
        try:
            while self._waiting:
                if asks := self._take():
                    await self._settle(asks)
        finally:
            self._lanes.discard(asyncio.current_task())  # in this tick: who asks in the next one begins another

    def _take(self) -> dict[K, list[asyncio.Future[V]]]:
        """The eldest asks, without those whose askers went away, or have waited for too long."""
        since = asyncio.get_running_loop().time() - WAIT_S
        asks: dict[K, list[asyncio.Future[V]]] = {}
        for key in list(islice(self._waiting, self._most)):
            for begun, answer in self._waiting.pop(key):
                if answer.done():
                    continue
                if begun < since:
                    answer.set_exception(Unavailable("the database is busy or gone; try again in a moment"))
                else:
                    asks.setdefault(key, []).append(answer)
        return asks

    async def _settle(self, asks: dict[K, list[asyncio.Future[V]]]) -> None:
        try:
            found = await self._load(list(asks))
            told = [(answer, found[key]) for key, answers in asks.items() for answer in answers]
        except (Exception, asyncio.CancelledError) as error:
            # Cancelled is this lane, or a library from inside it: neither is the askers' end.
            broken = Unavailable("a part of the server broke off; try again")
            for answers in asks.values():
                for answer in answers:
                    if not answer.done():
                        answer.set_exception(error if isinstance(error, Exception) else broken)
            if being_cancelled():
                raise
        else:
            for answer, value in told:
                if not answer.done():
                    answer.set_result(value)
