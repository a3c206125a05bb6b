"""Whether the process lives, and whether it can work."""

import asyncio

from aiohttp import web

from chat.errors import ChatError
from chat.http import app_keys
from chat.http.responses import json_response
from chat.protocol.schemas import Liveness, Readiness

DATABASE_TIMEOUT_S = 2.0


async def live(request: web.Request) -> web.Response:
    """200: the process runs."""
    return json_response(Liveness("ok"))


async def ready(request: web.Request) -> web.Response:
    """200: it can work, perhaps `degraded` (without the broker); 503: it cannot, or is stopping. It is that of
    the worker that answers, which lists the others as the supervisor told it last."""
    database = "ok" if await _database_answers(request) else "unavailable"
    broker = "ok" if request.app[app_keys.BROKER].up else "unavailable"
    status = "ok" if broker == "ok" else "degraded"
    if database != "ok":
        status = "unavailable"
    if request.app[app_keys.STATE].stopping:
        status = "stopping"
    worker = request.app[app_keys.WORKER]
    body = Readiness(status, database, broker, worker.number, worker.all)
    return json_response(body, status=200 if status in ("ok", "degraded") else 503)


async def _database_answers(request: web.Request) -> bool:
    try:
        await asyncio.wait_for(request.app[app_keys.DB].fetch_value("epoch/get", str), DATABASE_TIMEOUT_S)
    except (ChatError, TimeoutError):
        return False
    return True
