"""Reads that wait together share a query, as writes share a batch in the journal.

    ask ─ ask ─ ask ─┐ while the lanes are busy             ┌─ answer to each
                     └→ one load of all that wait, once each ┘

A load begins after the last of its asks, so each answer is as fresh as if it had been read for it alone. A lone
ask waits for nobody; a thousand sockets that come back at once are a few queries.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from itertools import chain, islice
from typing import Any, Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")

LANES = 2  # loads at once: one that hangs holds up only its own asks


class Gather(Generic[K, V]):
    """`load` reads at most `most` keys at once; what it raises, all who asked for one of them get."""

    def __init__(self, load: Callable[[list[K]], Awaitable[Mapping[K, V]]], *, most: int) -> None:
        self._load, self._most = load, most
        self._waiting: dict[K, list[asyncio.Future[V]]] = {}
        self._lanes: set[asyncio.Task[Any] | None] = set()

    async def get(self, key: K) -> V:
        """What `load` finds for the key, read after this call. Raises what it raises."""
        answer: asyncio.Future[V] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(key, []).append(answer)
        if len(self._lanes) < LANES:
            self._lanes.add(asyncio.create_task(self._lane()))
        return await answer

    async def _lane(self) -> None:
        while self._waiting:
            asks = {key: self._waiting.pop(key) for key in list(islice(self._waiting, self._most))}
            try:
                found = await self._load(list(asks))
            except Exception as error:
                for answer in _open(chain.from_iterable(asks.values())):
                    answer.set_exception(error)
            else:
                for key, answers in asks.items():
                    for answer in _open(answers):
                        answer.set_result(found[key])
        self._lanes.discard(asyncio.current_task())  # in this tick: who asks in the next one begins another


def _open(answers: Iterable[asyncio.Future[V]]) -> Iterator[asyncio.Future[V]]:
    """Those whose askers have not gone away."""
    return (answer for answer in answers if not answer.done())
