"""Who a request or a websocket comes from, and whether a page may open a websocket."""

from collections.abc import Awaitable, Callable

from aiohttp import hdrs, web

from chat.auth.tokens import Identity
from chat.errors import BadRequest, Forbidden, Unauthorized
from chat.http import app_keys
from chat.http.error_middleware import Handler

SUBPROTOCOL_V2 = "chat.v2"
BEARER_PREFIX = "bearer."  # of a token that comes as a subprotocol: browsers cannot send a header there

SignedInHandler = Callable[[web.Request, Identity], Awaitable[web.StreamResponse]]


def signed_in(handler: SignedInHandler) -> Handler:
    """A handler for users with a valid token; others get `Unauthorized`."""

    async def guarded(request: web.Request) -> web.StreamResponse:
        return await handler(request, request.app[app_keys.TOKENS].verify(bearer_token(request)))

    return guarded


def bearer_token(request: web.Request) -> str:
    """The token of the Authorization header. Raises `Unauthorized`."""
    scheme, _, token = request.headers.get(hdrs.AUTHORIZATION, "").partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise Unauthorized("A token is needed: Authorization: Bearer <token>. POST /v1/auth/login gives one.")
    return token.strip()


def check_origin(request: web.Request) -> None:
    """Raise `Forbidden` if a browser says that a page of another server connects, unless its origin is allowed."""
    origin = request.headers.get(hdrs.ORIGIN)
    if origin is None or origin.rstrip("/") in request.app[app_keys.SETTINGS].allowed_origins:
        return
    scheme, _, host = origin.lower().partition("://")
    if scheme not in ("http", "https") or host != request.host.lower():
        raise Forbidden("Pages of this origin may not connect. See ALLOWED_ORIGINS.", code="foreign_origin")


def websocket_token(request: web.Request) -> tuple[str, bool]:
    """The token of a websocket, and whether the client speaks chat.v2. Raises `Unauthorized`, `BadRequest`.

    Looked for in the subprotocols, in the query (`token`, `jwt`), in the Authorization header.
    """
    offered = [name.strip() for name in request.headers.get(hdrs.SEC_WEBSOCKET_PROTOCOL, "").split(",")]
    speaks_v2 = SUBPROTOCOL_V2 in offered
    carried = [name.removeprefix(BEARER_PREFIX) for name in offered if name.startswith(BEARER_PREFIX)]
    if carried and not speaks_v2:
        raise BadRequest(f"The subprotocol {BEARER_PREFIX}<token> needs {SUBPROTOCOL_V2} beside it.")
    for token in (*carried, request.query.get("token"), request.query.get("jwt")):
        if token:
            return token, speaks_v2
    if hdrs.AUTHORIZATION in request.headers:
        return bearer_token(request), speaks_v2
    raise Unauthorized("A token is needed: ?token=, an Authorization header, or the subprotocol bearer.<token>.")
