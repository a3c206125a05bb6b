"""Whether the process lives, and whether it can work."""

import asyncio

from aiohttp import web

from chat.http import app_keys as keys
from chat.http.responses import _json

READY_S = 2.0


async def live(request: web.Request) -> web.Response:
    """200: the process runs."""
    return _json({"status": "ok"})


async def ready(request: web.Request) -> web.Response:
    """200: it can work, perhaps `degraded` (without the broker); 503: it cannot, or is stopping."""
    try:
        await asyncio.wait_for(request.app[keys.DB].value("epoch/get"), READY_S)
        database = "ok"
    except Exception:
        database = "unavailable"
    broker = "ok" if request.app[keys.BROKER].up else "unavailable"
    stopping = request.app[keys.STATE].stopping
    status = "ok" if broker == "ok" else "degraded"
    if database != "ok":
        status = "unavailable"
    if stopping:
        status = "stopping"
    facts = {"status": status, "database": database, "broker": broker}
    return _json(facts, status=200 if status in ("ok", "degraded") else 503)
