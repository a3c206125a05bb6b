"""The composition root: one application, and the process that serves it.

`make_app` opens nothing: it lists addresses, middlewares and contexts. lifecycle.py opens and closes them.
"""

import asyncio
import gc
import logging
import re
import resource
import socket
from collections.abc import Iterator

from aiohttp import web

from chat.config import Settings
from chat.http import app_keys
from chat.http.access_log import AccessLogger, redact_malformed_request
from chat.http.error_middleware import error_middleware
from chat.http.listening_sockets import announce, listen, listen_on_first_free, or_cannot_listen, ports_to_try
from chat.http.requests import MAX_BODY_BYTES
from chat.http.routes import ROUTES
from chat.http.slow_peers import on_response_prepare
from chat.lifecycle import CONTEXTS, disconnect_clients
from chat.worker import Worker

SHUTDOWN_TIMEOUT_S = 1.0  # for requests still being answered at a stop; the writes among them are answered before
KEEPALIVE_S = 15.0
GC_GEN0_THRESHOLD = 50_000  # this process has many long-lived objects and few cycles, so collections are made rare


def make_app(settings: Settings, worker: Worker | None = None) -> web.Application:
    """The application of these settings. Opens nothing. Raises `ConfigError` if they cannot sign tokens."""
    settings.require_jwt_secret()
    app = web.Application(
        middlewares=[error_middleware],
        client_max_size=MAX_BODY_BYTES,
        handler_args={"auto_decompress": False},  # see http/content_encodings.py
    )
    app[app_keys.SETTINGS] = settings
    app[app_keys.STATE] = app_keys.State()
    app[app_keys.WORKER] = worker or Worker()
    app.add_routes(ROUTES)
    app.cleanup_ctx.extend(CONTEXTS)
    app.on_response_prepare.append(on_response_prepare)
    app.on_shutdown.append(disconnect_clients)
    return app


def serve(settings: Settings, worker: Worker | None = None, *, or_next_port: bool = False) -> None:
    """Serve until SIGINT or SIGTERM. Raises `CannotListen`, `ConfigError` and what lifecycle.py raises at the start.

    worker: which one this process is, if a supervisor has started it
    or_next_port: if another program has the port, take the next free one.
    """
    logging.getLogger("aiohttp.server").addFilter(redact_malformed_request)
    _, hard_limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard_limit, hard_limit))  # each socket takes a file; usual are 1,024
    gc.freeze()  # what is imported stays for good: no collection needs to look at it
    gc.set_threshold(GC_GEN0_THRESHOLD)
    app = make_app(settings, worker)
    app.on_startup.append(honour_pending_cancel)
    web.run_app(
        app,
        sock=_listening_sockets(settings, or_next_port=or_next_port),
        print=lambda banner: _on_listening(settings, worker, banner),
        access_log_class=AccessLogger,
        access_log=logging.getLogger("chat.access"),
        handle_signals=True,
        shutdown_timeout=SHUTDOWN_TIMEOUT_S,
        keepalive_timeout=KEEPALIVE_S,
    )


def _listening_sockets(settings: Settings, *, or_next_port: bool) -> Iterator[socket.socket]:
    """A generator, because run_app asks for the sockets after the start: until then, no client can connect."""
    with or_cannot_listen(settings.host, settings.port):
        if settings.workers > 1:
            sockets = listen(settings.host, settings.port, shared=True)
        else:
            sockets = listen_on_first_free(settings.host, ports_to_try(settings.port, or_next=or_next_port))
    yield from sockets


async def honour_pending_cancel(_: object) -> None:
    """The last step of the start. A signal cancels the start; before Python 3.12 asyncio.wait_for, and with it aiopg,
    swallows a cancel that comes with its result. Cancelled once more, run_app stops in good order."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        task.cancel()


def _on_listening(settings: Settings, worker: Worker | None, banner: str) -> None:
    """Tell the supervisor, and the user where it does not do so: aiohttp's banner has the addresses that were bound."""
    if worker:
        worker.report_listening()
    if settings.workers == 1:
        announce(re.findall(r"https?://\S+", banner)[0])
