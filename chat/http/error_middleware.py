"""The one form of errors: an error of any origin leaves as `{"error": {"code", "message"}}` with its status."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from aiohttp import web

from chat.aio import being_cancelled
from chat.errors import BadRequest, ChatError, NotFound, TooLarge, Unavailable
from chat.protocol.codec import encode
from chat.protocol.schemas import ErrorBody, ErrorDetail

log = logging.getLogger(__name__)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@web.middleware
async def error_middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn what a handler raises into a response."""
    try:
        return await handler(request)
    except ChatError as error:
        return error_response(error)
    except web.HTTPException as error:
        if error.status < 400:
            raise
        return error_response(_from_aiohttp(request, error))
    except asyncio.CancelledError:
        if being_cancelled():
            raise
        log.exception("%s %s: a library was cancelled from inside", request.method, request.rel_url.raw_path)
        return error_response(Unavailable("The request was interrupted. Try again."))
    except ConnectionError:
        return error_response(Unavailable("The connection was lost."))  # which nobody reads
    except Exception:
        log.exception("%s %s failed", request.method, request.rel_url.raw_path)
        return error_response(ChatError("Something went wrong in the server. It has been logged."))


def error_response(error: ChatError) -> web.Response:
    """The error as a response."""
    body = encode(ErrorBody(ErrorDetail(error.code, error.text)))
    return web.Response(status=error.status, body=body, headers=error.headers, content_type="application/json")


class _MethodNotAllowed(ChatError):
    code, status = "method_not_allowed", 405


def _from_aiohttp(request: web.Request, error: web.HTTPException) -> ChatError:
    if isinstance(error, web.HTTPMethodNotAllowed):
        allowed = ", ".join(sorted(error.allowed_methods))
        return _MethodNotAllowed(
            f"{request.method} is not allowed here. Allowed: {allowed}.", headers={"Allow": allowed}
        )
    if isinstance(error, web.HTTPNotFound):
        return NotFound(f"There is nothing at {request.path}. docs/api.md has the table of addresses.")
    if isinstance(error, web.HTTPRequestEntityTooLarge):
        return TooLarge("The body is too large.")
    return BadRequest(error.text or error.reason, status=error.status)
