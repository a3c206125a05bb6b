"""chat/db/batch_loader.py: calls that wait at the same time share a load, which began after each of them."""

import asyncio
import random

import pytest

from chat.db.batch_loader import MAX_CONCURRENT_LOADS, WAIT_TIMEOUT_S, BatchLoader
from chat.errors import Unavailable
from tests.support.standing_clock import advance, on_standing_clock


class Source:
    """A source that records what is loaded from it, and answers when a test lets it."""

    def __init__(self, max_batch_size: int = 100) -> None:
        self.loads: list[list[int]] = []
        self.gates: list[asyncio.Future[None]] = []
        self.version = 0
        self.loader = BatchLoader(self._load, max_batch_size=max_batch_size)

    async def _load(self, keys: list[int]) -> dict[int, tuple[int, int]]:
        self.loads.append(keys)
        found = {key: (key, self.version) for key in keys}
        gate: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.gates.append(gate)
        await gate
        return found

    def load(self, key: int) -> "asyncio.Task[tuple[int, int]]":
        return asyncio.create_task(self.loader.load(key))

    async def answer(self) -> None:
        """End the oldest load that is under way."""
        await ticks()
        next(gate for gate in self.gates if not gate.done()).set_result(None)
        await ticks()


async def ticks() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_a_lone_call_waits_for_nothing() -> None:
    source = Source()
    call = source.load(7)
    await source.answer()
    assert await call == (7, 0)
    assert source.loads == [[7]]


async def test_calls_of_one_tick_share_a_load_and_the_same_key_is_loaded_once() -> None:
    source = Source()
    calls = [source.load(key) for key in (1, 2, 1, 3)]
    await source.answer()
    assert [key for key, _ in await asyncio.gather(*calls)] == [1, 2, 1, 3]
    assert source.loads == [[1, 2, 3]]


async def test_a_call_during_a_load_gets_a_later_one() -> None:
    source = Source()
    early = [source.load(key) for key in range(MAX_CONCURRENT_LOADS)]
    await ticks()
    busy = len(source.loads)
    for _ in range(busy, MAX_CONCURRENT_LOADS):
        early.append(source.load(100))
        await ticks()
    assert len(source.loads) == MAX_CONCURRENT_LOADS
    source.version = 1
    late = source.load(0)
    await ticks()
    assert len(source.loads) == MAX_CONCURRENT_LOADS, "all workers are busy"
    for _ in range(MAX_CONCURRENT_LOADS + 1):
        await source.answer()
    assert await late == (0, 1)


async def test_a_load_has_no_more_keys_than_the_limit() -> None:
    source = Source(max_batch_size=3)
    calls = [source.load(key) for key in range(8)]
    for _ in range(3):
        await source.answer()
    assert [key for key, _ in await asyncio.gather(*calls)] == list(range(8))
    assert max(map(len, source.loads)) == 3


async def test_an_error_reaches_the_callers_of_its_load_and_no_later_one() -> None:
    source = Source()
    calls = [source.load(1), source.load(2)]
    await ticks()
    source.gates[0].set_exception(OSError("gone"))
    for call in calls:
        with pytest.raises(OSError, match="gone"):
            await call
    again = source.load(1)
    await source.answer()
    assert await again == (1, 0)


async def test_a_cancelled_call_cancels_no_other() -> None:
    source = Source()
    leaves, stays = source.load(1), source.load(1)
    await ticks()
    leaves.cancel()
    await source.answer()
    assert await stays == (1, 0)
    assert leaves.cancelled()


async def test_nothing_is_loaded_for_cancelled_calls() -> None:
    source = Source(max_batch_size=2)
    gone = [source.load(key) for key in range(10)]
    stays = source.load(10)
    await ticks()
    for each in gone[2 * MAX_CONCURRENT_LOADS :]:
        each.cancel()
    for _ in range(MAX_CONCURRENT_LOADS + 1):
        await source.answer()
    assert await stays == (10, 0)
    assert sorted(key for load in source.loads for key in load) == [*range(2 * MAX_CONCURRENT_LOADS), 10]
    await asyncio.gather(*gone, return_exceptions=True)


@on_standing_clock
async def test_a_call_that_has_waited_for_too_long_is_unavailable() -> None:
    source = Source(max_batch_size=1)
    first = [source.load(key) for key in range(MAX_CONCURRENT_LOADS)]
    await ticks()
    late = source.load(100)
    await advance(WAIT_TIMEOUT_S + 0.1)
    for _ in range(MAX_CONCURRENT_LOADS):
        await source.answer()
    await asyncio.gather(*first)
    with pytest.raises(Unavailable, match="busy or gone"):
        await late
    assert [100] not in source.loads
    again = source.load(100)
    await source.answer()
    assert await again == (100, 0)


async def test_a_load_that_is_cancelled_from_inside_stops_no_other() -> None:
    source = Source()
    for _ in range(MAX_CONCURRENT_LOADS + 1):
        call = source.load(1)
        await ticks()
        source.gates[-1].cancel()
        with pytest.raises(Unavailable, match="interrupted"):
            await call
    again = source.load(1)
    await source.answer()
    assert await again == (1, 0)


async def test_no_call_is_forgotten_whatever_the_timing() -> None:
    """Each of 500 calls at random moments gets a result of a load that began after it, whatever it takes."""
    chance = random.Random(1)
    version = 0

    async def load(keys: list[int]) -> dict[int, int]:
        found = dict.fromkeys(keys, version)
        for _ in range(chance.randrange(4)):
            await asyncio.sleep(0)
        return found

    loader = BatchLoader(load, max_batch_size=3)

    async def call() -> None:
        nonlocal version
        for _ in range(chance.randrange(200)):
            await asyncio.sleep(0)
        version += 1
        called_at = version
        assert await loader.load(chance.randrange(5)) >= called_at

    await asyncio.wait_for(asyncio.gather(*(call() for _ in range(500))), 20)
