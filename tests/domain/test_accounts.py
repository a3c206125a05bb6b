"""chat/domain/accounts.py: accounts, with the database. tests/test_api.py has what their clients see."""

import asyncio
from collections.abc import AsyncIterator

import argon2
import pytest

from chat.auth.passwords import Passwords
from chat.db.pool import Database
from chat.domain import accounts as users
from chat.domain import members, rooms
from chat.errors import BadRequest, Conflict, NotFound, Unauthorized
from tests.support.names import unique


@pytest.fixture(scope="module")
async def passwords() -> AsyncIterator[Passwords]:
    """As in the server, but cheap."""
    these = Passwords(threads=2, queue_timeout_s=10)
    these._hasher = argon2.PasswordHasher(time_cost=1, memory_cost=64, parallelism=1)
    these._dummy_hash = these._hasher.hash("nobody")
    yield these
    these.close()


# --- signing up ---------------------------------------------------------------------------------------


async def test_who_signs_up_can_log_in_and_be_found(db: Database, passwords: Passwords) -> None:
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


@pytest.mark.parametrize("twin", ["νικος", "νικοσ", "Νικος"])
async def test_an_address_is_taken_whatever_the_case_of_its_letters(
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
def test_usernames_may_look_so(username: str) -> None:
    assert users.USERNAME_PATTERN.fullmatch(username)


@pytest.mark.parametrize(
    ("password", "said"),
    [
        ("x" * 7, "7 bytes; 8 to 1,024"),
        ("", "0 bytes"),
        ("x" * 1025, "1025 bytes"),
        ("ä" * 513, "1026 bytes"),
        ("\ud800" * 8, "Unicode"),
    ],
)
async def test_a_bad_password_is_refused_and_not_shown(
    db: Database, passwords: Passwords, password: str, said: str
) -> None:
    with pytest.raises(BadRequest, match=said) as caught:
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
def test_what_is_no_address_is_refused(email: str) -> None:
    with pytest.raises(BadRequest, match="email is not valid: "):
        users.normalize_email(email)


# --- logging in ---------------------------------------------------------------------------------------


async def test_either_mistake_is_the_same_refusal_and_costs_one_verification(
    db: Database, passwords: Passwords
) -> None:
    name = unique("ann")
    user = await users.sign_up(db, passwords, name, f"{name}@example.com", "correct horse")
    told = set()
    for email, password in [
        (user.email, "wrong horse"),
        (user.email, ""),
        (user.email, "x" * 2000),
        (user.email, "\ud800" * 8),
        ("nobody@example.com", "correct horse"),
        ("nobody", "correct horse"),
        ("\x00", "correct horse"),
        ("robot", ""),
    ]:
        before = passwords.verifications
        with pytest.raises(Unauthorized) as caught:
            await users.log_in(db, passwords, email, password)
        assert passwords.verifications == before + 1
        told.add((caught.value.code, caught.value.text))
    assert told == {("wrong_credentials", "The e-mail address or the password is wrong.")}


async def test_the_robot_has_no_password_that_fits(db: Database, passwords: Passwords) -> None:
    assert await db.fetch_value("users/get_by_email", str, email="robot") is None


async def test_an_unknown_user_is_not_found(db: Database) -> None:
    with pytest.raises(NotFound):
        await users.get(db, 2**63 - 1)


async def test_many_log_in_at_once(db: Database, passwords: Passwords) -> None:
    name = unique("ann")
    user = await users.sign_up(db, passwords, name, f"{name}@example.com", "correct horse")
    found = await asyncio.gather(*(users.log_in(db, passwords, user.email, "correct horse") for _ in range(4)))
    assert set(found) == {user}
