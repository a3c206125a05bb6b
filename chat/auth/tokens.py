"""Signing and verifying tokens. The only module that knows PyJWT."""

import secrets
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

import jwt

from chat.errors import BadRequest, Unauthorized
from chat.protocol.codec import parse_bigint

ISSUER = "chat"
CLOCK_SKEW_S = 60  # how far the clock of the machine that issued a token may be ahead of ours
MAX_TIME_S = 253_402_300_799  # the end of the year 9999: no datetime goes further
TOKEN_CACHE_SIZE = 1_000  # tokens whose signature is remembered as good: a request takes a tenth less
_CLAIMS = ["sub", "name", "email", "iat", "exp", "iss", "jti", "epoch"]
_OPTIONS: jwt.types.Options = {"require": _CLAIMS, "verify_iat": False, "verify_exp": False}  # both are checked here


@dataclass(frozen=True, slots=True)
class Identity:
    """The user whom a token names, and until when (`expires_at`, seconds since 1970)."""

    user_id: int
    username: str
    email: str
    expires_at: float


class Tokens:
    """Signs and verifies the JWTs of one epoch. `ttl_s`: seconds that a token lives."""

    def __init__(self, secret: str, *, ttl_s: float, epoch: str) -> None:
        self._secret = secret
        self._ttl = timedelta(seconds=ttl_s)
        self._cached = lru_cache(TOKEN_CACHE_SIZE)(self._decode)
        self.epoch = epoch

    def issue(self, user_id: int, username: str, email: str) -> tuple[str, datetime]:
        """A token, and when it expires."""
        now = datetime.now(UTC)
        expires_at = now + self._ttl
        claims = {
            "sub": str(user_id),
            "name": username,
            "email": email,
            "iat": now,
            "exp": expires_at,
            "iss": ISSUER,
            "jti": secrets.token_urlsafe(12),
            "epoch": self.epoch,
        }
        return jwt.encode(claims, self._secret, algorithm="HS256"), expires_at

    def verify(self, token: str) -> Identity:
        """The user whom the token names. Raises `Unauthorized`, whose text says what is wrong with the token."""
        try:
            identity, epoch = self._cached(token)
            if identity.expires_at <= time.time():  # since its signature was verified
                raise jwt.ExpiredSignatureError
        except jwt.ExpiredSignatureError:
            raise Unauthorized("The token has expired. Log in again.", code="token_expired") from None
        except (jwt.InvalidTokenError, BadRequest, ValueError, TypeError, RecursionError):  # the last: nested JSON
            raise Unauthorized("The token is not valid. Log in again.") from None
        if epoch != self.epoch:
            raise Unauthorized("The token is from before a reset. Log in again.", code="token_expired")
        return identity

    def _decode(self, token: str) -> tuple[Identity, str]:
        claims = jwt.decode(token, self._secret, algorithms=["HS256"], issuer=ISSUER, options=_OPTIONS)
        if _seconds(claims["iat"]) > time.time() + CLOCK_SKEW_S:
            raise jwt.ImmatureSignatureError
        user_id, expires_at = parse_bigint(claims["sub"]), _seconds(claims["exp"])
        return Identity(user_id, str(claims["name"]), str(claims["email"]), expires_at), claims["epoch"]


def _seconds(claim: Any) -> int:
    """A time in whole seconds since 1970. Raises `ValueError`, because PyJWT also takes texts, floats and booleans."""
    if type(claim) is not int or not 0 <= claim <= MAX_TIME_S:
        raise ValueError
    return claim
