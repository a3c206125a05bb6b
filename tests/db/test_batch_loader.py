"""gather.py: those who wait together share a load; each answer is of a load that began after its ask."""

import asyncio
import random

import pytest

from chat.db.batch_loader import MAX_CONCURRENT_LOADS, BatchLoader
from chat.errors import Unavailable


class Source:
    """Something to read, which says what it was asked, and answers when it is told to."""

    def __init__(self, most: int = 100) -> None:
        self.loads: list[list[int]] = []
        self.gates: list[asyncio.Future[None]] = []
        self.version = 0
        self.gather = BatchLoader(self._load, max_batch_size=most)

    async def _load(self, keys: list[int]) -> dict[int, tuple[int, int]]:
        self.loads.append(keys)
        found = {key: (key, self.version) for key in keys}
        gate: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.gates.append(gate)
        await gate
        return found

    def ask(self, key: int) -> "asyncio.Task[tuple[int, int]]":
        return asyncio.create_task(self.gather.load(key))

    async def answer(self) -> None:
        """Ends the oldest load that is under way."""
        await ticks()
        next(gate for gate in self.gates if not gate.done()).set_result(None)
        await ticks()


async def ticks() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_a_lone_ask_waits_for_nobody() -> None:
    source = Source()
    asked = source.ask(7)
    await source.answer()
    assert await asked == (7, 0)
    assert source.loads == [[7]]


async def test_asks_of_one_tick_share_a_load_and_the_same_ask_is_loaded_once() -> None:
    source = Source()
    asked = [source.ask(key) for key in (1, 2, 1, 3)]
    await source.answer()
    assert [key for key, _ in await asyncio.gather(*asked)] == [1, 2, 1, 3]
    assert source.loads == [[1, 2, 3]]


async def test_who_asks_during_a_load_gets_a_later_one() -> None:
    source = Source()
    early = [source.ask(key) for key in range(MAX_CONCURRENT_LOADS)]
    await ticks()
    busy = len(source.loads)
    for _ in range(busy, MAX_CONCURRENT_LOADS):
        early.append(source.ask(100))
        await ticks()
    assert len(source.loads) == MAX_CONCURRENT_LOADS
    source.version = 1
    late = source.ask(0)
    await ticks()
    assert len(source.loads) == MAX_CONCURRENT_LOADS, "no lane is free"
    for _ in range(MAX_CONCURRENT_LOADS + 1):
        await source.answer()
    assert await late == (0, 1)


async def test_a_load_takes_no_more_than_it_may() -> None:
    source = Source(most=3)
    asked = [source.ask(key) for key in range(8)]
    for _ in range(3):
        await source.answer()
    assert [key for key, _ in await asyncio.gather(*asked)] == list(range(8))
    assert max(map(len, source.loads)) == 3


async def test_an_error_reaches_all_who_asked_and_nobody_after_them() -> None:
    source = Source()
    asked = [source.ask(1), source.ask(2)]
    await ticks()
    source.gates[0].set_exception(OSError("gone"))
    for each in asked:
        with pytest.raises(OSError, match="gone"):
            await each
    again = source.ask(1)
    await source.answer()
    assert await again == (1, 0)


async def test_who_goes_away_takes_nobody_with_him() -> None:
    source = Source()
    goes, stays = source.ask(1), source.ask(1)
    await ticks()
    goes.cancel()
    await source.answer()
    assert await stays == (1, 0)
    assert goes.cancelled()


async def test_nothing_is_loaded_for_those_who_went_away() -> None:
    source = Source(most=2)
    gone = [source.ask(key) for key in range(10)]
    stays = source.ask(10)
    await ticks()
    for each in gone[2 * MAX_CONCURRENT_LOADS :]:
        each.cancel()
    for _ in range(MAX_CONCURRENT_LOADS + 1):
        await source.answer()
    assert await stays == (10, 0)
    assert sorted(key for load in source.loads for key in load) == [*range(2 * MAX_CONCURRENT_LOADS), 10]
    await asyncio.gather(*gone, return_exceptions=True)


async def test_who_has_waited_for_too_long_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chat.db.batch_loader.WAIT_TIMEOUT_S", 0.5)
    source = Source(most=1)
    first = [source.ask(key) for key in range(MAX_CONCURRENT_LOADS)]
    await ticks()
    late = source.ask(100)
    await asyncio.sleep(0.7)
    for _ in range(MAX_CONCURRENT_LOADS):
        await source.answer()
    await asyncio.gather(*first)
    with pytest.raises(Unavailable, match="busy or gone"):
        await late
    assert [100] not in source.loads
    again = source.ask(100)
    await source.answer()
    assert await again == (100, 0)


async def test_a_load_that_is_cancelled_from_inside_stops_nobody_else() -> None:
    source = Source()
    for _ in range(MAX_CONCURRENT_LOADS + 1):
        asked = source.ask(1)
        await ticks()
        source.gates[-1].cancel()
        with pytest.raises(Unavailable, match="interrupted"):
            await asked
    again = source.ask(1)
    await source.answer()
    assert await again == (1, 0)


async def test_nobody_is_forgotten_whatever_the_timing() -> None:
    """500 asks at random moments, with loads that take from no tick at all to some: each is answered, and freshly."""
    chance = random.Random(1)
    version = 0

    async def load(keys: list[int]) -> dict[int, int]:
        found = dict.fromkeys(keys, version)
        for _ in range(chance.randrange(4)):
            await asyncio.sleep(0)
        return found

    gather = BatchLoader(load, max_batch_size=3)

    async def ask() -> None:
        nonlocal version
        for _ in range(chance.randrange(200)):
            await asyncio.sleep(0)
        version += 1
        asked = version
        assert await gather.load(chance.randrange(5)) >= asked

    await asyncio.wait_for(asyncio.gather(*(ask() for _ in range(500))), 20)
