"""Accounts: signing up and logging in."""

import re
from contextlib import suppress
from datetime import datetime
from typing import NamedTuple

from email_validator import EmailNotValidError, validate_email

from chat.auth.passwords import Passwords
from chat.db.errors import DatabaseError, StatementTimeout
from chat.db.pool import Database
from chat.errors import BadRequest, Conflict, NotFound, OutcomeUnknown, Unauthorized, Unavailable
from chat.eventlog.event import Event, event_notification
from chat.eventlog.notifier import Notifier
from chat.protocol.text import INVISIBLE_LETTERS, is_reserved_username

USERNAME_PATTERN = re.compile(r"[A-Za-z0-9._-]{3,32}", re.ASCII)  # ASCII, so that no two names look alike
MIN_PASSWORD_BYTES = 8
MAX_PASSWORD_BYTES = 1024

_INVISIBLE = re.compile(f"[{INVISIBLE_LETTERS}]")


class User(NamedTuple):
    """An account, as others may know it."""

    id: int
    username: str
    email: str
    created_at: datetime


class _Credentials(NamedTuple):
    password_hash: str
    user: User


async def sign_up(db: Database, passwords: Passwords, username: str, email: str, password: str) -> User:
    """Create an account, a member of the default rooms. `announce` tells the members of these rooms.

    Raises `BadRequest`, `Conflict` (taken), `Unavailable`, `OutcomeUnknown`.
    """
    if not USERNAME_PATTERN.fullmatch(username):
        raise BadRequest("username has to be 3 to 32 characters of A-Z, a-z, 0-9, '.', '_' and '-'.")
    if is_reserved_username(username):
        raise BadRequest("username is reserved, because it looks like a name of the server. Choose another one.")
    email = normalize_email(email)
    _check_password(password)
    password_hash = await passwords.hash(password)
    try:
        user = await db.fetch_one("users/create", User, username=username, email=email, password_hash=password_hash)
    except StatementTimeout:
        raise OutcomeUnknown("The database did not answer; the account may exist. Try to log in.") from None
    if user is not None:
        return user
    field = await db.fetch_value("users/find_conflict", str, username=username, email=email)
    if field is None:
        raise Unavailable("The default rooms are busy; no account was created. Try again in a moment.", code="busy")
    raise Conflict(f"{field} is taken by somebody else. Choose another one.", code=f"{field}_taken")


async def announce(db: Database, notifier: Notifier, user: User) -> None:
    """Tell every process that a new account has joined the default rooms."""
    with suppress(Unavailable, DatabaseError):  # then each process finds the events by itself
        events = await db.fetch_all("users/list_joins", Event, user_id=user.id)
        if events:
            notifier.notify(list(map(event_notification, events)))


async def log_in(db: Database, passwords: Passwords, email: str, password: str) -> User:
    """The account with this address and password. Raises `Unauthorized`, the same and as late for either mistake."""
    try:
        found = await db.fetch_one("users/get_by_email", _Credentials, email=normalize_email(email))
    except BadRequest:
        found = None
    candidate = password.encode(errors="replace")  # half of a surrogate pair matches nothing: sign_up refuses it
    candidate = candidate if len(candidate) <= MAX_PASSWORD_BYTES else b""
    matches = await passwords.verify(found.password_hash if found else None, candidate.decode())
    if found is None or not matches:
        raise Unauthorized("The e-mail address or the password is wrong.", code="wrong_credentials")
    if passwords.needs_rehash(found.password_hash):
        with suppress(Unavailable, DatabaseError):  # then at the next log-in
            new_hash = await passwords.hash(password)
            await db.execute("users/rehash", user_id=found.user.id, old_hash=found.password_hash, new_hash=new_hash)
    return found.user


async def get(db: Database, user_id: int) -> User:
    """The account with this id. Raises `NotFound`."""
    user = await db.fetch_one("users/get", User, user_id=user_id)
    if user is None:
        raise NotFound("There is no such user.")
    return user


def normalize_email(email: str) -> str:
    """The address as it is stored and looked up. No DNS is asked. Raises `BadRequest`."""
    if invisible := _INVISIBLE.search(email):  # the library refuses the other invisible ones
        raise BadRequest(f"email is not valid: it has the invisible character U+{ord(invisible[0]):04X}.")
    try:
        return validate_email(email, check_deliverability=False, test_environment=True).normalized
    except (EmailNotValidError, UnicodeError) as error:
        raise BadRequest(f"email is not valid: {error}") from None


def _check_password(password: str) -> None:
    try:
        size = len(password.encode())
    except UnicodeEncodeError:
        raise BadRequest("password has characters that are not Unicode text.") from None
    if not MIN_PASSWORD_BYTES <= size <= MAX_PASSWORD_BYTES:
        raise BadRequest(f"password has {size} bytes; {MIN_PASSWORD_BYTES} to {MAX_PASSWORD_BYTES:,} are allowed.")
