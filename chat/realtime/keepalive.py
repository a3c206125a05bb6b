"""Pings for silent peers, on one timer for all connections.

A timer and a task for each connection cost several times as much.
"""

import asyncio
from collections.abc import Collection
from typing import Protocol

PINGS_PER_TICK = 100


class Pingable(Protocol):
    """A connection."""

    def ping_if_idle(self, pong_timeout_s: float) -> None:
        """Ping a peer that was silent since the last call; disconnect one that has not answered for so long."""


async def keepalive(connections: Collection[Pingable], *, interval_s: float, timeout_s: float) -> None:
    """For ever: ping a peer that was silent before `interval_s` have passed, disconnect it `timeout_s` later.

    Each connection is looked at once in a period, in groups spread over it.
    """
    loop = asyncio.get_running_loop()
    period_s = min(interval_s / 2, timeout_s)
    due = loop.time()
    while True:
        present = list(connections)
        groups = range(0, len(present) or 1, PINGS_PER_TICK)
        for first in groups:
            for connection in present[first : first + PINGS_PER_TICK]:
                connection.ping_if_idle(timeout_s)
            due = max(due, loop.time() - period_s) + period_s / len(groups)
            await asyncio.sleep(due - loop.time())
