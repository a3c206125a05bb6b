"""Signing and reading tokens. The only module that knows PyJWT."""

import secrets
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache

import jwt

from chat.errors import Unauthorized

ISSUER = "chat"
VERIFIED = 1_000  # tokens whose signature is remembered as good: a request takes a tenth less
_CLAIMS = ["sub", "name", "email", "iat", "exp", "iss", "jti", "epoch"]


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a token says its bearer is, and until when (`expires_at`, seconds since 1970)."""

    user_id: int
    username: str
    email: str
    expires_at: float


class Tokens:
    """Signs and reads the JWTs of one epoch."""

    def __init__(self, secret: str, *, ttl_hours: float, epoch: str) -> None:
        self._secret = secret
        self._ttl = timedelta(hours=ttl_hours)
        self._verified = lru_cache(VERIFIED)(self._verify)
        self.epoch = epoch

    def issue(self, user_id: int, username: str, email: str) -> tuple[str, datetime]:
        """A token and when it expires."""
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

    def read(self, token: str) -> Identity:
        """Who the token's bearer is. Raises `Unauthorized`, whose text says what is wrong with it."""
        try:
            identity, epoch = self._verified(token)
            if identity.expires_at <= time.time():  # since it was verified
                raise jwt.ExpiredSignatureError
        except jwt.ExpiredSignatureError:
            raise Unauthorized("the token has expired; log in again", code="token_expired") from None
        except (jwt.InvalidTokenError, ValueError, TypeError):
            raise Unauthorized("the token is not valid; log in again") from None
        if epoch != self.epoch:
            raise Unauthorized("the token is from before a reset; log in again", code="token_expired")
        return identity

    def _verify(self, token: str) -> tuple[Identity, str]:
        claims = jwt.decode(token, self._secret, algorithms=["HS256"], issuer=ISSUER, options={"require": _CLAIMS})
        identity = Identity(int(claims["sub"]), str(claims["name"]), str(claims["email"]), float(claims["exp"]))
        return identity, claims["epoch"]
