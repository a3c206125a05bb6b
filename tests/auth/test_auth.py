"""chat/auth: forged tokens are refused, and hashing passwords does not block the loop."""

import asyncio
import base64
import contextlib
import json
import math
import threading
import time
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Any, Literal

import argon2
import jwt
import pytest

from chat.auth.passwords import Passwords
from chat.auth.tokens import MAX_TIME_S, Tokens
from chat.db.pool import Database
from chat.domain import accounts as users
from chat.errors import Unauthorized, Unavailable
from tests.support.client import Chat
from tests.support.names import unique
from tests.support.waiting import PATIENCE_S

SECRET = "0123456789abcdef0123456789abcdef"
EPOCH = "5f3c8a0e-0000-4000-8000-000000000000"


@pytest.fixture
def tokens() -> Tokens:
    return Tokens(SECRET, ttl_s=216_000, epoch=EPOCH)


def claims(without: str = "", **changed: Any) -> dict[str, Any]:
    """The claims of a valid token, with some changed."""
    now = int(time.time())
    good = {"sub": "7", "name": "ann", "email": "ann@example.com", "iat": now, "exp": now + 60}
    good |= {"iss": "chat", "jti": "x", "epoch": EPOCH, **changed}
    return {name: value for name, value in good.items() if name != without}


def signed(key: str = SECRET, algorithm: str = "HS256", **changed: Any) -> str:
    return jwt.encode(claims(**changed), key, algorithm=algorithm)


def unsigned(header: dict[str, str]) -> str:
    """A token as a forger writes it, because no library does."""
    parts = (base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in (header, claims()))
    return ".".join([*parts, ""])


def nested(opening: str) -> str:
    """A token whose header is JSON that is nested too deeply to be read."""
    return base64.urlsafe_b64encode(opening.encode() * 6000).decode().rstrip("=") + ".e30.e30"


# Values of claims that no server has issued. json writes the first three as Infinity and NaN.
ABSURD: list[Any] = [
    math.inf,
    -math.inf,
    math.nan,
    10**30,
    -(10**30),
    -1,
    MAX_TIME_S + 1,
    time.time() + 30.5,
    1e20,
    True,
    False,
    "",
    "soon",
    f"{time.time() + 30}",
    [],
    [int(time.time()) + 30],
    {},
    None,
]


# --- tokens -------------------------------------------------------------------------------------------


def test_a_token_names_its_user(tokens: Tokens) -> None:
    token, expires_at = tokens.issue(7, "ann", "ann@example.com")
    identity = tokens.verify(token)
    assert (identity.user_id, identity.username, identity.email) == (7, "ann", "ann@example.com")
    assert identity.expires_at == int(expires_at.timestamp())
    assert abs(identity.expires_at - time.time() - 60 * 3600) < 10


def test_a_token_has_these_claims_and_no_others(tokens: Tokens) -> None:
    token, _ = tokens.issue(7, "ann", "ann@example.com")
    assert jwt.get_unverified_header(token) == {"alg": "HS256", "typ": "JWT"}
    found = jwt.decode(token, options={"verify_signature": False})
    assert found.keys() == {"sub", "name", "email", "iat", "exp", "iss", "jti", "epoch"}
    assert (found["sub"], found["iss"], found["epoch"]) == ("7", "chat", EPOCH)
    again, _ = tokens.issue(7, "ann", "ann@example.com")
    assert jwt.decode(again, options={"verify_signature": False})["jti"] != found["jti"]


def test_the_token_that_these_tests_forge_is_valid(tokens: Tokens) -> None:
    assert tokens.verify(signed()).user_id == 7


@pytest.mark.parametrize(
    "forge",
    [
        lambda: signed("another key of at least 32 bytes!"),
        lambda: signed(SECRET * 2, "HS512"),
        lambda: signed(SECRET * 2, "HS384"),
        lambda: unsigned({"alg": "none", "typ": "JWT"}),
        lambda: unsigned({"alg": "HS256", "typ": "JWT"}),
        lambda: unsigned({"alg": "RS256", "typ": "JWT"}),
        lambda: signed(iss="somebody"),
        lambda: signed(sub="ann"),
        lambda: signed(iat=time.time() + 3600),
        lambda: signed()[:-2],
        lambda: signed() + "x",
        lambda: "",
        lambda: "a.b.c",
        lambda: "\udcff",
        lambda: "é.é.é",
        lambda: signed(iat=int(time.time()) + 70),
        lambda: nested("["),
        lambda: nested('{"a":'),
        *(partial(signed, without=name) for name in claims()),
        *(partial(signed, **{name: value}) for name in ("exp", "iat", "sub") for value in ABSURD),
        *(
            partial(signed, sub=value)
            for value in (7, "-1", "1e3", "1.0", " 7", "+7", "7_0", "٧", str(2**63), "9" * 5000)
        ),
        *(partial(signed, **{name: str(int(time.time()) + 30)}) for name in ("exp", "iat")),
    ],
)
def test_a_forged_or_broken_token_is_refused(tokens: Tokens, forge: Callable[[], str]) -> None:
    with pytest.raises(Unauthorized) as caught:
        tokens.verify(forge())
    assert caught.value.code == "unauthorized"


@pytest.mark.parametrize("name", ["exp", "iat", "sub"])
@pytest.mark.parametrize("number", ["1e400", "-1e400", "1" + "0" * 5000, "1e18", "0x7"])
def test_a_number_that_only_json_can_write_is_refused(tokens: Tokens, name: str, number: str) -> None:
    payload = json.dumps(claims(**{name: "here"})).replace('"here"', number)
    forged = jwt.api_jws.encode(payload.encode(), SECRET, algorithm="HS256")
    with pytest.raises(Unauthorized) as caught:
        tokens.verify(forged)
    assert caught.value.code == "unauthorized"


def test_the_clock_of_the_issuer_may_be_a_minute_ahead(tokens: Tokens) -> None:
    now = int(time.time())
    assert tokens.verify(signed(iat=now + 55, exp=now + 100)).user_id == 7


@pytest.mark.parametrize("ago", [1, 30, 59])
def test_a_token_lives_no_second_longer_for_it(tokens: Tokens, ago: int) -> None:
    now = int(time.time())
    with pytest.raises(Unauthorized) as caught:
        tokens.verify(signed(iat=now - 100, exp=now - ago))
    assert caught.value.code == "token_expired"


@pytest.mark.parametrize("changed", [{"exp": int(time.time()) - 1}, {"epoch": "another"}])
def test_an_expired_token_says_that_the_user_has_to_log_in_again(tokens: Tokens, changed: dict[str, Any]) -> None:
    with pytest.raises(Unauthorized) as caught:
        tokens.verify(signed(**changed))
    assert caught.value.code == "token_expired"
    assert "Log in again" in caught.value.text


# --- passwords ----------------------------------------------------------------------------------------


@pytest.fixture
async def passwords() -> AsyncIterator[Passwords]:
    passwords = Passwords(threads=1, queue_timeout_s=PATIENCE_S)
    yield passwords
    passwords.close()


class RecordingHasher(argon2.PasswordHasher):
    """A hasher that keeps the hashes that it has compared with a password."""

    def __init__(self) -> None:
        super().__init__(parallelism=1)
        self.compared: list[str] = []

    def verify(self, hash: str | bytes, password: str | bytes) -> Literal[True]:
        self.compared.append(str(hash))
        return super().verify(hash, password)


class BlockingHasher(argon2.PasswordHasher):
    """A hasher whose verification lasts until the test ends it."""

    def __init__(self) -> None:
        super().__init__(parallelism=1)
        self.has_begun, self.may_end = threading.Event(), threading.Event()

    def verify(self, hash: str | bytes, password: str | bytes) -> Literal[True]:
        self.has_begun.set()
        assert self.may_end.wait(PATIENCE_S)
        return True


@contextlib.asynccontextmanager
async def verifying() -> AsyncIterator[tuple[Passwords, asyncio.Task[bool]]]:
    """Passwords whose only thread verifies a password, until the context ends."""
    hasher = BlockingHasher()
    passwords = Passwords(threads=1, queue_timeout_s=0.05, hasher=hasher)
    first = asyncio.create_task(passwords.verify(None, "x"))
    try:
        assert await asyncio.to_thread(hasher.has_begun.wait, PATIENCE_S)
        yield passwords, first
    finally:
        hasher.may_end.set()
        await asyncio.wait([first])
    async with asyncio.timeout(PATIENCE_S):
        while not await can_hash(passwords):
            pass
    passwords.close()


async def can_hash(passwords: Passwords) -> bool:
    """Return whether a thread is free in time."""
    try:
        return bool(await passwords.hash("x"))
    except Unavailable:
        return False


async def test_a_password_matches_its_own_hash_alone(passwords: Passwords) -> None:
    encoded = await passwords.hash("pässwörd 🔑")
    assert encoded.startswith("$argon2id$")
    assert await passwords.verify(encoded, "pässwörd 🔑")
    assert not await passwords.verify(encoded, "passwort")
    assert encoded != await passwords.hash("pässwörd 🔑")


async def test_the_password_of_no_account_never_matches_and_costs_the_same() -> None:
    hasher = RecordingHasher()
    passwords = Passwords(threads=1, queue_timeout_s=PATIENCE_S, hasher=hasher)
    encoded = await passwords.hash("correct horse")
    for known in (encoded, None):
        before = passwords.verifications
        assert not await passwords.verify(known, "wrong horse")
        assert passwords.verifications == before + 1
    known_hash, dummy_hash = hasher.compared
    assert known_hash == encoded
    assert argon2.extract_parameters(dummy_hash) == argon2.extract_parameters(encoded)
    passwords.close()


async def test_an_invalid_hash_matches_no_password(passwords: Passwords) -> None:
    assert not await passwords.verify("not a hash", "")


async def test_a_call_that_finds_no_free_thread_is_unavailable_for_a_second() -> None:
    async with verifying() as (passwords, first):
        with pytest.raises(Unavailable) as caught:
            await passwords.hash("x")
        assert caught.value.retry_ms == 1000
    assert await first is False


async def test_a_cancelled_call_frees_no_thread_that_still_works() -> None:
    async with verifying() as (passwords, first):
        first.cancel()
        await asyncio.wait([first])
        with pytest.raises(Unavailable):
            await passwords.hash("x")


async def test_the_loop_goes_on_while_passwords_are_hashed(passwords: Passwords) -> None:
    work = asyncio.create_task(passwords.hash("x"))
    turns = 0
    while not work.done():
        turns += 1
        await asyncio.sleep(0)
    assert turns > 10


# --- a hash with yesterday's parameters ---------------------------------------------------------------


async def test_a_log_in_replaces_an_outdated_hash(db: Database, chat: Chat, passwords: Passwords) -> None:
    old = argon2.PasswordHasher(time_cost=1, memory_cost=8192, parallelism=1).hash("correct horse")
    name = unique("old")
    row = await db.fetch_one("users/create", users.User, username=name, email=f"{name}@example.com", password_hash=old)
    assert row is not None and passwords.needs_rehash(old)

    async def stored() -> str:
        found = await db.fetch_value("users/get_by_email", str, email=row.email)  # the first column
        assert found is not None
        return found

    with pytest.raises(Unauthorized):
        await users.log_in(db, passwords, row.email, "wrong horse")
    assert await stored() == old
    assert (await users.log_in(db, passwords, row.email, "correct horse")).id == row.id
    new = await stored()
    assert not passwords.needs_rehash(new)
    assert (await users.log_in(db, passwords, row.email, "correct horse")).id == row.id
    assert await stored() == new


async def test_a_log_in_succeeds_even_when_no_thread_is_free_for_a_new_hash(
    db: Database, passwords: Passwords, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = argon2.PasswordHasher(time_cost=1, memory_cost=8192, parallelism=1).hash("correct horse")
    name = unique("old")
    row = await db.fetch_one("users/create", users.User, username=name, email=f"{name}@example.com", password_hash=old)
    assert row is not None

    async def busy(_: str) -> str:
        raise Unavailable("No thread is free.")

    monkeypatch.setattr(passwords, "hash", busy)
    assert (await users.log_in(db, passwords, row.email, "correct horse")).id == row.id
