"""Accounts over REST: sign-up, log-in, the user's own account."""

from typing import Any

from aiohttp import web

from chat.auth.tokens import Identity
from chat.domain import accounts as users
from chat.domain.accounts import User
from chat.http import app_keys as keys
from chat.http.requests import _body
from chat.http.responses import _json
from chat.protocol.schemas import LogIn, SignUp


async def sign_up(request: web.Request) -> web.Response:
    """201: a new account and its token."""
    asked = await _body(request, SignUp)
    user = await users.sign_up(
        request.app[keys.DB], request.app[keys.PASSWORDS], asked.username, asked.email, asked.password
    )
    return _json(_session(request, user), status=201)


async def log_in(request: web.Request) -> web.Response:
    """200: a new token."""
    asked = await _body(request, LogIn)
    user = await users.log_in(request.app[keys.DB], request.app[keys.PASSWORDS], asked.email, asked.password)
    return _json(_session(request, user))


async def me(request: web.Request, who: Identity) -> web.Response:
    """200: the user that the token belongs to."""
    return _json(_user(await users.get(request.app[keys.DB], who.user_id)))


def _session(request: web.Request, user: User) -> dict[str, Any]:
    token, expires_at = request.app[keys.TOKENS].issue(user.id, user.username, user.email)
    return {"token": token, "expiresAt": expires_at, "user": _user(user)}


def _user(user: User) -> dict[str, Any]:
    return {"id": user.id, "username": user.username, "email": user.email, "createdAt": user.created_at}
