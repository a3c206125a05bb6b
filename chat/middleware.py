"""Around every handler: the guards, the one form of errors, and access lines that keep secrets.

An error of any origin leaves as `{"error": {"code", "message"}}` with the fitting status.
"""

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable

from aiohttp import hdrs, web
from aiohttp.abc import AbstractAccessLogger
from aiohttp.http_exceptions import HttpProcessingError

from chat import keys
from chat.errors import BadRequest, ChatError, Forbidden, NotFound, TooLarge, Unauthorized, Unavailable
from chat.protocol import encode
from chat.security import Identity

log = logging.getLogger("chat.http")

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
V2 = "chat.v2"
BEARER = "bearer."  # before a token that comes as a subprotocol: browsers can send no header there

TAKE_S = 30  # longer than a phone is without a signal in a tunnel

SignedInHandler = Callable[[web.Request, Identity], Awaitable[web.StreamResponse]]


def signed_in(handler: SignedInHandler) -> Handler:
    """The handler, for who has a token; `Unauthorized` for everybody else."""

    async def guarded(request: web.Request) -> web.StreamResponse:
        return await handler(request, request.app[keys.TOKENS].read(bearer(request)))

    return guarded


def bearer(request: web.Request) -> str:
    """The token of the Authorization header. Raises `Unauthorized`."""
    scheme, _, token = request.headers.get(hdrs.AUTHORIZATION, "").partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise Unauthorized("a token is needed: Authorization: Bearer <token>; POST /v1/auth/login gives one")
    return token.strip()


def check_origin(request: web.Request) -> None:
    """A browser says whose page it shows: it has to be ours, or one that is allowed. Raises `Forbidden`."""
    origin = request.headers.get(hdrs.ORIGIN)
    if origin is None or origin.rstrip("/") in request.app[keys.SETTINGS].allowed_origins:
        return
    scheme, _, host = origin.lower().partition("://")
    if scheme not in ("http", "https") or host != request.host.lower():
        raise Forbidden("pages of this origin may not connect; see ALLOWED_ORIGINS", code="foreign_origin")


def websocket_token(request: web.Request) -> tuple[str, bool]:
    """The token, wherever it is, and whether the client speaks chat.v2. Raises `Unauthorized`."""
    offered = [name.strip() for name in request.headers.get(hdrs.SEC_WEBSOCKET_PROTOCOL, "").split(",")]
    v2 = V2 in offered
    carried = [name.removeprefix(BEARER) for name in offered if name.startswith(BEARER)]
    if carried and not v2:
        raise BadRequest(f"the subprotocol {BEARER}<token> goes with {V2}")
    for token in (*carried, request.query.get("token"), request.query.get("jwt")):
        if token:
            return token, v2
    if hdrs.AUTHORIZATION in request.headers:
        return bearer(request), v2
    raise Unauthorized("a token is needed: ?token=, an Authorization header, or the subprotocol bearer.<token>")


@web.middleware
async def errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Renders what a handler raises."""
    try:
        return await handler(request)
    except ChatError as error:
        return rendered(error)
    except web.HTTPException as error:
        if error.status < 400:
            raise
        return rendered(_translated(request, error))
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        log.exception("%s %s: a library was cancelled from inside", request.method, request.rel_url.raw_path)
        return rendered(Unavailable("a part of the server broke off; try again"))
    except ConnectionError:
        return rendered(Unavailable("you are gone"))  # which nobody reads
    except Exception:
        log.exception("%s %s failed", request.method, request.rel_url.raw_path)
        return rendered(ChatError("something went wrong in the server; it has been logged"))


async def cut_who_takes_nothing(request: web.Request, _: web.StreamResponse) -> None:
    """A signal, before each answer: who takes nothing of what is sent to him for `TAKE_S` is cut, websockets too. By
    the kernel, which alone sees that; left to itself it would keep it while the peer lives. Linux only."""
    if request.transport is not None and hasattr(socket, "TCP_USER_TIMEOUT"):
        peer = request.transport.get_extra_info("socket")
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, TAKE_S * 1000)


def rendered(error: ChatError) -> web.Response:
    """The error as a response."""
    body = encode({"error": {"code": error.code, "message": error.text}})
    return web.Response(status=error.status, body=body, headers=error.headers, content_type="application/json")


class _MethodNotAllowed(ChatError):
    code, status = "method_not_allowed", 405


def _translated(request: web.Request, error: web.HTTPException) -> ChatError:
    """aiohttp's own refusals in our words."""
    if isinstance(error, web.HTTPMethodNotAllowed):
        allowed = ", ".join(sorted(error.allowed_methods))
        return _MethodNotAllowed(
            f"{request.method} is not allowed here; allowed: {allowed}", headers={"Allow": allowed}
        )
    if isinstance(error, web.HTTPNotFound):
        return NotFound(f"there is nothing at {request.path}; README.md has the table of addresses")
    if isinstance(error, web.HTTPRequestEntityTooLarge):
        return TooLarge("the body is too large")
    return BadRequest(error.text or error.reason, status=error.status)


class AccessLogger(AbstractAccessLogger):
    """One line a request, without the query: tokens may be in it. The path stays quoted: so may line breaks."""

    def log(self, request: web.BaseRequest, response: web.StreamResponse, time: float) -> None:
        path = request.rel_url.raw_path
        self.logger.info("%s %s %s %d %.1f ms", request.remote, request.method, path, response.status, time * 1000)


def without_request(record: logging.LogRecord) -> bool:
    """A filter for aiohttp's own log, which shows the line of a malformed request, token and all."""
    error = record.exc_info[1] if record.exc_info else None
    if isinstance(error, HttpProcessingError):
        record.msg, record.args, record.exc_info = "not HTTP: %s", (type(error).__name__,), None
        record.levelno, record.levelname = logging.INFO, "INFO"  # the fault is the client's
    return True
