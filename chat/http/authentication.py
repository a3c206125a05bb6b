"""Guards: who a request or a websocket comes from."""

from collections.abc import Awaitable, Callable

from aiohttp import hdrs, web

from chat.auth.tokens import Identity
from chat.errors import BadRequest, Forbidden, Unauthorized
from chat.http import app_keys as keys
from chat.http.error_middleware import Handler

V2 = "chat.v2"
BEARER = "bearer."  # before a token that comes as a subprotocol: browsers can send no header there
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
