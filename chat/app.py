"""The composition root: one application, and the process that serves it.

`make_app` opens nothing: it lists addresses, middlewares and contexts. lifecycle.py opens and closes them.
"""

import asyncio
import gc
import logging
import re
import resource
import socket
import sys
from collections.abc import Iterator

from aiohttp import web

from chat.config import Settings
from chat.errors import OperatorError
from chat.http import app_keys
from chat.http.access_log import AccessLogger, redact_malformed_request
from chat.http.error_middleware import error_middleware
from chat.http.listening_sockets import listen_on_first_free
from chat.http.requests import MAX_BODY_BYTES
from chat.http.routes import ROUTES
from chat.http.slow_peers import on_response_prepare
from chat.lifecycle import CONTEXTS, disconnect_clients

SHUTDOWN_TIMEOUT_S = 1.0  # for requests still being answered at a stop; the writes among them are answered before
KEEPALIVE_S = 15.0
PORT_TRIES = 100  # so many servers on one machine find a port of their own
GC_GEN0_THRESHOLD = 50_000  # this process has many long-lived objects and few cycles, so collections are made rare


class CannotListen(OperatorError):
    """The address cannot be bound; the text says what to do."""


def make_app(settings: Settings) -> web.Application:
    """The application of these settings. Opens nothing. Raises `ConfigError` if they cannot sign tokens."""
    settings.require_jwt_secret()
    app = web.Application(
        middlewares=[error_middleware],
        client_max_size=MAX_BODY_BYTES,
        handler_args={"auto_decompress": False},  # see http/content_encodings.py
    )
    app[app_keys.SETTINGS] = settings
    app[app_keys.STATE] = app_keys.State()
    app.add_routes(ROUTES)
    app.cleanup_ctx.extend(CONTEXTS)
    app.on_response_prepare.append(on_response_prepare)
    app.on_shutdown.append(disconnect_clients)
    return app


def serve(settings: Settings, *, or_next_port: bool = False) -> None:
    """Serve until SIGINT or SIGTERM. Raises `CannotListen`, `ConfigError` and what lifecycle.py raises at the start.

    or_next_port: if another program has the port, take the next free one.
    """
    logging.getLogger("aiohttp.server").addFilter(redact_malformed_request)
    _, hard_limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard_limit, hard_limit))  # each socket takes a file; usual are 1,024
    gc.freeze()  # what is imported stays for good: no collection needs to look at it
    gc.set_threshold(GC_GEN0_THRESHOLD)
    app = make_app(settings)
    app.on_startup.append(honour_pending_cancel)
    web.run_app(
        app,
        sock=_listening_sockets(settings, PORT_TRIES if or_next_port else 1),
        print=_announce,
        access_log_class=AccessLogger,
        access_log=logging.getLogger("chat.access"),
        handle_signals=True,
        shutdown_timeout=SHUTDOWN_TIMEOUT_S,
        keepalive_timeout=KEEPALIVE_S,
    )


def _listening_sockets(settings: Settings, tries: int) -> Iterator[socket.socket]:
    """A generator, because run_app asks for the sockets after the start: until then, no client can connect."""
    try:
        yield from listen_on_first_free(settings.host, range(settings.port, min(settings.port + tries, 65_536)))
    except OSError as error:
        raise CannotListen(
            f"cannot listen on {settings.host}:{settings.port} ({error.strerror}); "
            "another program may have the port: choose one with PORT=…"
        ) from None


async def honour_pending_cancel(_: object) -> None:
    """The last step of the start. A signal cancels the start; before Python 3.12 asyncio.wait_for, and with it aiopg,
    swallows a cancel that comes with its result. Cancelled once more, run_app stops in good order."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        task.cancel()


def _announce(banner: str) -> None:
    """Print the address to open, whatever the log level: aiohttp's banner has the addresses that were bound."""
    address = re.findall(r"https?://\S+", banner)[0]
    address = re.sub(r"//(0\.0\.0\.0|127\.0\.0\.1|\[::1?\])(?=:)", "//localhost", address)
    print(f"chat: listening on {address}, open it in a browser", file=sys.stderr, flush=True)
