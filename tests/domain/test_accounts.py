"""chat/domain/accounts.py: accounts, with the database. tests/http/test_api.py has what their clients see."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import argon2
import psycopg2
import pytest

from chat.auth.passwords import Passwords
from chat.broker.memory import MemoryBroker
from chat.db.pool import Database
from chat.domain import accounts as users
from chat.domain import members, rooms
from chat.errors import BadRequest, Conflict, NotFound, Unauthorized
from chat.eventlog.notifier import Notifier
from devtools import schema
from tests.support.names import unique


@pytest.fixture(scope="module")
async def passwords() -> AsyncIterator[Passwords]:
    """Passwords as in the server, with cheap hashes."""
    hasher = argon2.PasswordHasher(time_cost=1, memory_cost=64, parallelism=1)
    passwords = Passwords(threads=2, queue_timeout_s=10, hasher=hasher)
    yield passwords
    passwords.close()


# --- signing up ---------------------------------------------------------------------------------------


async def test_a_new_user_can_log_in_and_be_found(db: Database, passwords: Passwords) -> None:
    name = unique("Ann_1.b")
    user = await users.sign_up(db, passwords, name, f"{name}@EXAMPLE.com", "pässwörd 🔑")
    assert (user.username, user.email) == (name, f"{name}@example.com")
    assert await users.log_in(db, passwords, user.email, "pässwörd 🔑") == user
    assert await users.get(db, user.id) == user
    assert [(await rooms.get(db, user.id, room)).is_member for room in (1, 2)] == [True, True]


async def test_nothing_is_left_of_a_sign_up_that_fails(db: Database, passwords: Passwords) -> None:
    name = unique("ann")
    first = await users.sign_up(db, passwords, name, f"{name}@example.com", "correct horse")
    with pytest.raises(Conflict) as caught:
        await users.sign_up(db, passwords, unique("bob"), first.email.upper(), "correct horse")
    assert caught.value.code == "email_taken"
    with pytest.raises(Conflict) as caught:
        await users.sign_up(db, passwords, name.upper(), f"{unique()}@example.com", "correct horse")
    assert caught.value.code == "username_taken"
    found = await members.list_members(db, first.id, 1, after=first.id - 1, limit=100)
    assert [member.user_id for member in found] == [first.id]


async def test_an_account_needs_no_default_room(database_url: str, passwords: Passwords) -> None:
    with schema.scratch(database_url) as url:
        schema.reset(url)
        with contextlib.closing(psycopg2.connect(url)) as connection, connection, connection.cursor() as cursor:
            cursor.execute("UPDATE rooms SET archived_at = now()")
        db = Database(url, size=2, name="test")
        await db.open()
        try:
            tries = [users.sign_up(db, passwords, "ann", f"{n}@example.com", "correct horse") for n in range(2)]
            first, second = sorted(
                await asyncio.gather(*tries, return_exceptions=True), key=lambda each: type(each) is Conflict
            )
            assert isinstance(first, users.User) and isinstance(second, Conflict)
            assert second.code == "username_taken"
            await users.announce(db, Notifier(MemoryBroker()), first)
        finally:
            await db.close()


@pytest.mark.parametrize("twin", ["νικος", "νικοσ", "Νικος"])
async def test_a_second_account_of_an_address_is_a_conflict_whatever_its_case(
    db: Database, passwords: Passwords, twin: str
) -> None:
    mark = unique()
    first = await users.sign_up(db, passwords, mark, f"ΝΙΚΟΣ{mark}@example.com", "correct horse")
    with pytest.raises(Conflict) as caught:
        await users.sign_up(db, passwords, unique("bob"), f"{twin}{mark}@example.com", "correct horse")
    assert caught.value.code == "email_taken"
    assert await users.log_in(db, passwords, f"{twin}{mark}@example.com", "correct horse") == first


@pytest.mark.parametrize(
    "username", ["ab", "x" * 33, "", "two words", "ünicode", "naïve", "a\n", "a\x00bc", "@ann", "аnn"]
)
async def test_a_bad_username_is_refused_before_anything_is_hashed(
    db: Database, passwords: Passwords, username: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(passwords, "hash", None)
    with pytest.raises(BadRequest, match="username has to be"):
        await users.sign_up(db, passwords, username, "ann@example.com", "correct horse")


@pytest.mark.parametrize("username", ["abc", "x" * 32, "A.b_c-9", "..."])
def test_other_usernames_are_accepted(username: str) -> None:
    assert users.USERNAME_PATTERN.fullmatch(username)


@pytest.mark.parametrize(
    ("password", "expected"),
    [
        ("x" * 7, "7 bytes; 8 to 1,024"),
        ("", "0 bytes"),
        ("x" * 1025, "1025 bytes"),
        ("ä" * 513, "1026 bytes"),
        ("\ud800" * 8, "Unicode"),
    ],
)
async def test_a_bad_password_is_refused_and_not_shown(
    db: Database, passwords: Passwords, password: str, expected: str
) -> None:
    with pytest.raises(BadRequest, match=expected) as caught:
        await users.sign_up(db, passwords, unique("ann"), "ann@example.com", password)
    assert caught.value.text.startswith("password")
    assert not password or password not in caught.value.text


@pytest.mark.parametrize("password", ["x" * 8, "x" * 1024, "ä" * 4, "        ", "\x00" * 8])
async def test_passwords_may_be_any_text(db: Database, passwords: Passwords, password: str) -> None:
    name = unique("any")
    user = await users.sign_up(db, passwords, name, f"{name}@example.com", password)
    assert (await users.log_in(db, passwords, user.email, password)).id == user.id


# --- addresses ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("email", "stored"),
    [
        ("Ann@EXAMPLE.com", "Ann@example.com"),
        ("ann+tag@example.com", "ann+tag@example.com"),
        ("ann@bücher.example.com", "ann@bücher.example.com"),
        ("ann@xn--bcher-kva.example.com", "ann@bücher.example.com"),
        ("u\u0308ber@example.com", "über@example.com"),
        ("ann@test", "ann@test"),
    ],
)
def test_an_address_is_normalised(email: str, stored: str) -> None:
    assert users.normalize_email(email) == stored


@pytest.mark.parametrize(
    "email",
    [
        "",
        "ann",
        "ann@",
        "@example.com",
        "a@b@c",
        "ann@example",
        "ann @example.com",
        "ann@exa mple.com",
        "ann@example..com",
        "ann@[127.0.0.1]",
        "Ann <ann@example.com>",
        "ann\x00@example.com",
        "ann\n@example.com",
        "\ud800@example.com",
        "ann@\ud800.com",
        "ann@" + "x" * 250 + ".com",
        "\u3164@example.com",
        "ann\u3164@example.com",
        "ann\u115f\u1160@example.com",
        "ann\uffa0@example.com",
        "ann\u2800@example.com",
        "ann\u200b@example.com",
        "ann\u00ad@example.com",
    ],
)
def test_text_that_is_not_an_address_is_refused(email: str) -> None:
    with pytest.raises(BadRequest, match="email is not valid: "):
        users.normalize_email(email)


# --- logging in ---------------------------------------------------------------------------------------


async def test_either_mistake_is_the_same_error_and_costs_one_verification(db: Database, passwords: Passwords) -> None:
    name = unique("ann")
    user = await users.sign_up(db, passwords, name, f"{name}@example.com", "correct horse")
    errors = set()
    for email, password in [
        (user.email, "wrong horse"),
        (user.email, ""),
        (user.email, "x" * 2000),
        (user.email, "\ud800" * 8),
        ("unknown@example.com", "correct horse"),
        ("unknown", "correct horse"),
        ("\x00", "correct horse"),
        ("robot", ""),
    ]:
        before = passwords.verifications
        with pytest.raises(Unauthorized) as caught:
            await users.log_in(db, passwords, email, password)
        assert passwords.verifications == before + 1
        errors.add((caught.value.code, caught.value.text))
    assert errors == {("wrong_credentials", "The e-mail address or the password is wrong.")}


async def test_the_user_robot_cannot_log_in(db: Database, passwords: Passwords) -> None:
    assert await db.fetch_value("users/get_by_email", str, email="robot") is None


async def test_an_unknown_user_is_not_found(db: Database) -> None:
    with pytest.raises(NotFound):
        await users.get(db, 2**63 - 1)


async def test_a_user_may_log_in_many_times_at_once(db: Database, passwords: Passwords) -> None:
    name = unique("ann")
    user = await users.sign_up(db, passwords, name, f"{name}@example.com", "correct horse")
    found = await asyncio.gather(*(users.log_in(db, passwords, user.email, "correct horse") for _ in range(4)))
    assert set(found) == {user}
