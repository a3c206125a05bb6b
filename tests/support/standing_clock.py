"""Time that stands still until a test moves it."""

import asyncio
import functools
import selectors
from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec

P = ParamSpec("P")


class StandingClock(asyncio.SelectorEventLoop):
    """An event loop whose time the test sets."""

    def __init__(self) -> None:
        super().__init__(selectors.DefaultSelector())
        self.now = 1000.0

    def time(self) -> float:
        return self.now


def on_standing_clock(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """Run an async test on a loop of its own whose time stands still. Its fixtures may not belong to another loop."""

    @functools.wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        with asyncio.Runner(loop_factory=StandingClock) as runner:
            runner.run(test(*args, **kwargs))

    return run


async def advance(seconds: float) -> None:
    """Let run what is ready, move the time of the StandingClock on which this runs, and let run what is due then."""
    clock = asyncio.get_running_loop()
    assert isinstance(clock, StandingClock)
    await _settle()
    clock.now += seconds
    await _settle()


async def _settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)
