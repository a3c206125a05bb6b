"""Accounts over REST: sign-up, log-in, the user's own account."""

from aiohttp import web

from chat.auth.tokens import Identity
from chat.domain import accounts
from chat.domain.accounts import User
from chat.http import app_keys
from chat.http.requests import parse_body
from chat.http.responses import json_response
from chat.protocol.schemas import LogIn, LoginBody, SignUp, UserBody


async def sign_up(request: web.Request) -> web.Response:
    """201: a new account and its token."""
    body = await parse_body(request, SignUp)
    db, passwords = request.app[app_keys.DB], request.app[app_keys.PASSWORDS]
    user = await accounts.sign_up(db, passwords, body.username, body.email, body.password)
    await accounts.announce(db, request.app[app_keys.NOTIFIER], user)
    return _login_response(request, user, status=201)


async def log_in(request: web.Request) -> web.Response:
    """200: a new token."""
    body = await parse_body(request, LogIn)
    user = await accounts.log_in(request.app[app_keys.DB], request.app[app_keys.PASSWORDS], body.email, body.password)
    return _login_response(request, user)


async def get_me(request: web.Request, identity: Identity) -> web.Response:
    """200: the account that the token belongs to."""
    return json_response(_user_body(await accounts.get(request.app[app_keys.DB], identity.user_id)))


def _login_response(request: web.Request, user: User, status: int = 200) -> web.Response:
    token, expires_at = request.app[app_keys.TOKENS].issue(user.id, user.username, user.email)
    return json_response(LoginBody(token, expires_at, _user_body(user)), status)


def _user_body(user: User) -> UserBody:
    return UserBody(*user)
