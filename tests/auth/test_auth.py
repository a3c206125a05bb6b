"""chat/auth: tokens that must not be believed, and passwords that must not block."""

import asyncio
import base64
import json
import math
import threading
import time
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Any

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

SECRET = "0123456789abcdef0123456789abcdef"
EPOCH = "5f3c8a0e-0000-4000-8000-000000000000"


@pytest.fixture
def tokens() -> Tokens:
    return Tokens(SECRET, ttl_s=216_000, epoch=EPOCH)


def claims(without: str = "", **changed: Any) -> dict[str, Any]:
    """Those of a good token, but for some."""
    now = int(time.time())
    good = {"sub": "7", "name": "ann", "email": "ann@example.com", "iat": now, "exp": now + 60}
    good |= {"iss": "chat", "jti": "x", "epoch": EPOCH, **changed}
    return {name: value for name, value in good.items() if name != without}


def signed(key: str = SECRET, algorithm: str = "HS256", **changed: Any) -> str:
    return jwt.encode(claims(**changed), key, algorithm=algorithm)


def unsigned(header: dict[str, str]) -> str:
    """A token as its forger writes it: no library would."""
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


def test_a_token_says_who_its_bearer_is(tokens: Tokens) -> None:
    token, expires_at = tokens.issue(7, "ann", "ann@example.com")
    who = tokens.verify(token)
    assert (who.user_id, who.username, who.email) == (7, "ann", "ann@example.com")
    assert who.expires_at == int(expires_at.timestamp())
    assert abs(who.expires_at - time.time() - 60 * 3600) < 10


def test_a_token_has_these_claims_and_no_others(tokens: Tokens) -> None:
    token, _ = tokens.issue(7, "ann", "ann@example.com")
    assert jwt.get_unverified_header(token) == {"alg": "HS256", "typ": "JWT"}
    found = jwt.decode(token, options={"verify_signature": False})
    assert found.keys() == {"sub", "name", "email", "iat", "exp", "iss", "jti", "epoch"}
    assert (found["sub"], found["iss"], found["epoch"]) == ("7", "chat", EPOCH)
    again, _ = tokens.issue(7, "ann", "ann@example.com")
    assert jwt.decode(again, options={"verify_signature": False})["jti"] != found["jti"]


def test_the_good_one_of_these_tests_is_good(tokens: Tokens) -> None:
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
def test_what_is_not_a_token_of_ours_is_refused(tokens: Tokens, forge: Callable[[], str]) -> None:
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
def test_a_token_that_was_good_once_says_log_in_again(tokens: Tokens, changed: dict[str, Any]) -> None:
    with pytest.raises(Unauthorized) as caught:
        tokens.verify(signed(**changed))
    assert caught.value.code == "token_expired"
    assert "Log in again" in caught.value.text


# --- passwords ----------------------------------------------------------------------------------------


@pytest.fixture
async def passwords() -> AsyncIterator[Passwords]:
    these = Passwords(threads=1, queue_timeout_s=0.05)
    yield these
    these.close()


class Held:
    """Work for the thread pool that lasts until it is let go."""

    def __init__(self) -> None:
        self.begun, self.let_go = threading.Event(), threading.Event()

    def __call__(self, *_: object) -> bool:
        self.begun.set()
        return self.let_go.wait(10)


async def test_a_password_fits_its_hash_alone(passwords: Passwords) -> None:
    encoded = await passwords.hash("pässwörd 🔑")
    assert encoded.startswith("$argon2id$")
    assert await passwords.verify(encoded, "pässwörd 🔑")
    assert not await passwords.verify(encoded, "passwort")
    assert encoded != await passwords.hash("pässwörd 🔑")


async def test_nobody_has_no_password_and_it_costs_the_same(passwords: Passwords) -> None:
    encoded = await passwords.hash("correct horse")
    for known in (encoded, None):
        before = passwords.verifications
        assert not await passwords.verify(known, "wrong horse")
        assert passwords.verifications == before + 1
    assert argon2.extract_parameters(passwords._dummy_hash) == argon2.extract_parameters(encoded)


async def test_a_hash_that_is_none_fits_nothing(passwords: Passwords) -> None:
    assert not await passwords.verify("not a hash", "")


async def test_who_finds_no_thread_is_told_to_come_back(passwords: Passwords, monkeypatch: pytest.MonkeyPatch) -> None:
    held = Held()
    monkeypatch.setattr(passwords, "_matches", held)
    first = asyncio.create_task(passwords.verify(None, "x"))
    try:
        assert await asyncio.to_thread(held.begun.wait, 5)
        with pytest.raises(Unavailable) as caught:
            await passwords.hash("x")
        assert caught.value.retry_ms == 1000
    finally:
        held.let_go.set()
    assert await first is False
    assert await passwords.hash("x")  # the thread is free again


async def test_who_hangs_up_frees_no_thread_that_still_works(
    passwords: Passwords, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = Held()
    monkeypatch.setattr(passwords, "_matches", held)
    first = asyncio.create_task(passwords.verify(None, "x"))
    try:
        assert await asyncio.to_thread(held.begun.wait, 5)
        first.cancel()
        await asyncio.wait([first])
        with pytest.raises(Unavailable):
            await passwords.hash("x")
    finally:
        held.let_go.set()
    assert await passwords.hash("x")


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


async def test_who_can_log_in_does_so_even_when_there_is_no_thread_for_a_new_hash(
    db: Database, passwords: Passwords, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = argon2.PasswordHasher(time_cost=1, memory_cost=8192, parallelism=1).hash("correct horse")
    name = unique("old")
    row = await db.fetch_one("users/create", users.User, username=name, email=f"{name}@example.com", password_hash=old)
    assert row is not None

    async def busy(_: str) -> str:
        raise Unavailable("too many people are logging in")

    monkeypatch.setattr(passwords, "hash", busy)
    assert (await users.log_in(db, passwords, row.email, "correct horse")).id == row.id
