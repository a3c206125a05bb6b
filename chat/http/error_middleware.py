"""Around every handler: the guards, the one form of errors, and access lines that keep secrets.

An error of any origin leaves as `{"error": {"code", "message"}}` with the fitting status.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from aiohttp import web

from chat.aio import being_cancelled
from chat.errors import BadRequest, ChatError, NotFound, TooLarge, Unavailable
from chat.protocol.codec import encode

log = logging.getLogger(__name__)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


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
        if being_cancelled():
            raise
        log.exception("%s %s: a library was cancelled from inside", request.method, request.rel_url.raw_path)
        return rendered(Unavailable("a part of the server broke off; try again"))
    except ConnectionError:
        return rendered(Unavailable("you are gone"))  # which nobody reads
    except Exception:
        log.exception("%s %s failed", request.method, request.rel_url.raw_path)
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
    return BadRequest(error.text or error.reason, status=error.status)
