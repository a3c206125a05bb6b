"""Around every handler: the guard, the one form of errors, and access lines that keep secrets.

An error of any origin leaves as `{"error": {"code", "message"}}` with the fitting status.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from aiohttp import hdrs, web
from aiohttp.abc import AbstractAccessLogger

from chat import keys
from chat.errors import BadRequest, ChatError, NotFound, TooLarge, Unauthorized, Unavailable
from chat.protocol import encode
from chat.security import Identity

log = logging.getLogger("chat.http")

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
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
        log.exception("%s %s: a library was cancelled from inside", request.method, request.path)
        return rendered(Unavailable("a part of the server broke off; try again"))
    except Exception:
        log.exception("%s %s failed", request.method, request.path)
        return rendered(ChatError("something went wrong in the server; it has been logged"))


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
    told = BadRequest(error.text or error.reason)
    told.status = error.status
    return told


class AccessLogger(AbstractAccessLogger):
    """One line a request, without the query: tokens may be in it."""

    def log(self, request: web.BaseRequest, response: web.StreamResponse, time: float) -> None:
        self.logger.info(
            "%s %s %s %d %.1f ms", request.remote, request.method, request.path, response.status, time * 1000
        )
