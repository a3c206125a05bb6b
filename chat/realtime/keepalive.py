"""Pings for silent peers."""

import asyncio

from aiohttp import web

from chat.http import app_keys as keys

BEAT = 100  # sockets that are pinged in one tick


async def heartbeat(app: web.Application) -> None:
    """Beats for every socket, for ever: two beats make `HEARTBEAT_S`.

    On one timer and by groups: a timer and a task for each socket cost several times as much.
    """
    half_s = app[keys.SETTINGS].heartbeat_s / 2
    due = asyncio.get_running_loop().time()
    while True:
        sessions = list(app[keys.STATE].sessions)
        groups = range(0, len(sessions) or 1, BEAT)
        for first in groups:
            for session in sessions[first : first + BEAT]:
                session.beat(half_s)
            due = max(due, asyncio.get_running_loop().time() - half_s) + half_s / len(groups)
            await asyncio.sleep(due - asyncio.get_running_loop().time())
