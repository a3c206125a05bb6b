"""Cancellation and background tasks: what asyncio leaves to its users.

A library may raise a CancelledError that nobody asked for: aiopg when the *server* cancels a statement, aiormq when the
connection is lost. On each CancelledError ask `being_cancelled()`: re-raise if it is true, else turn it into an error.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

log = logging.getLogger(__name__)

T = TypeVar("T")

CANCEL_RETRY_S = 0.1
RESTART_S = 1.0  # before a background loop that failed is started again


def being_cancelled() -> bool:
    """Whether somebody has asked for the cancellation of the task that runs now."""
    task = asyncio.current_task()
    return task is not None and bool(task.cancelling())


async def cancel_and_wait(tasks: Iterable["asyncio.Task[Any]"]) -> None:
    """Cancel tasks until all have ended. Once may not do: before Python 3.12 asyncio.wait_for swallows a cancel that
    comes with its result."""
    pending = {task for task in tasks if not task.done()}
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=CANCEL_RETRY_S)


async def within(seconds: float, doing: Coroutine[Any, Any, T]) -> T:
    """Await with a time limit, even if the coroutine ignores its cancellation: aiormq's calls may wait for room in the
    very queue of frames that is stuck. Raises TimeoutError, and ConnectionError if the library has cancelled it."""
    task = asyncio.ensure_future(doing)
    task.add_done_callback(lambda task: task.cancelled() or task.exception())  # nobody may await it any more
    try:
        done, _ = await asyncio.wait([task], timeout=seconds)
    finally:
        task.cancel()
    if not done:
        raise TimeoutError
    if task.cancelled():
        raise ConnectionError("A call of a library was cancelled from inside.")
    return task.result()


@asynccontextmanager
async def background_task(loop: Callable[[], Awaitable[None]]) -> AsyncIterator[None]:
    """Run an endless coroutine while the context lasts. What it raises is logged, and it is started again."""

    async def run_forever() -> None:
        while True:
            try:
                await loop()
            except Exception:
                log.exception("a background task failed; it is started again in %.0f s", RESTART_S)
                await asyncio.sleep(RESTART_S)

    task = asyncio.create_task(run_forever())
    try:
        yield
    finally:
        await cancel_and_wait([task])
