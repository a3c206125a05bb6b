"""Wait for a fact that nothing announces."""

import asyncio
from collections.abc import Callable
from typing import TypeVarTuple

Args = TypeVarTuple("Args")

PATIENCE_S = 10.0  # how long a test waits for something that has to happen


async def eventually(predicate: Callable[[*Args], bool], *args: *Args, within_s: float = PATIENCE_S) -> None:
    """Wait until `predicate(*args)` is true.

    Raises:
        TimeoutError: It was still false after `within_s`.
    """
    async with asyncio.timeout(within_s):
        while not predicate(*args):
            await asyncio.sleep(0.01)
