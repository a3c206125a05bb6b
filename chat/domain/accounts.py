"""Accounts: signing up and logging in."""

import re
from contextlib import suppress
from datetime import datetime
from typing import NamedTuple

from email_validator import EmailNotValidError, validate_email

from chat.auth.passwords import Passwords
from chat.db.errors import DatabaseError, StatementFailed, StatementTimeout
from chat.db.pool import Database
from chat.errors import BadRequest, Conflict, NotFound, OutcomeUnknown, Unauthorized, Unavailable
from chat.protocol.text import BLANK

USERNAME = re.compile(r"[A-Za-z0-9._-]{3,32}", re.ASCII)  # ASCII, so that no two names look alike
PASSWORD_BYTES = (8, 1024)

_BLANK = re.compile(f"[{BLANK}]")
_TAKEN = {"users_username_key": "username", "users_email_key": "email"}


class User(NamedTuple):
    """An account, as others may know it."""

    id: int
    username: str
    email: str
    created_at: datetime


async def sign_up(db: Database, passwords: Passwords, username: str, email: str, password: str) -> User:
    """A new account, member of the default rooms. Raises `BadRequest`, `Conflict` (taken), `Unavailable`."""
    if not USERNAME.fullmatch(username):
        raise BadRequest("username has to be 3 to 32 characters of A-Z, a-z, 0-9, '.', '_' and '-'")
    email = normalised(email)
    password_hash = await passwords.hash(_checked(password))
    try:
        row = await db.one("users/create", username=username, email=email, password_hash=password_hash)
    except StatementFailed as error:
        if field := _TAKEN.get(error.constraint):
            raise Conflict(f"{field} is taken by somebody else", code=f"{field}_taken") from None
        raise
    except StatementTimeout:
        raise OutcomeUnknown("The database did not answer; try to log in.") from None
    assert row is not None
    return User._make(row)


async def log_in(db: Database, passwords: Passwords, email: str, password: str) -> User:
    """Whose address and password these are. Raises `Unauthorized`, the same and as late for either mistake."""
    try:
        row = await db.one("users/get_by_email", email=normalised(email))
    except BadRequest:
        row = None
    tried = password.encode(errors="replace")  # half a surrogate pair fits nothing: sign_up refuses it
    tried = tried if len(tried) <= PASSWORD_BYTES[1] else b""
    fits = await passwords.verify(row.password_hash if row else None, tried.decode())
    if row is None or not fits:
        raise Unauthorized("e-mail or password is wrong", code="wrong_credentials")
    if passwords.outdated(row.password_hash):
        with suppress(Unavailable, DatabaseError):  # then at the next log-in
            new_hash = await passwords.hash(password)
            await db.run("users/rehash", user_id=row.id, old_hash=row.password_hash, new_hash=new_hash)
    return User._make(row[:4])


async def get(db: Database, user_id: int) -> User:
    """The account with this id. Raises `NotFound`."""
    row = await db.one("users/get", user_id=user_id)
    if row is None:
        raise NotFound("there is no such user")
    return User._make(row)


def normalised(email: str) -> str:
    """The address as it is stored and looked for: no DNS is asked. Raises `BadRequest`."""
    if blank := _BLANK.search(email):  # the library refuses the other invisible ones
        raise BadRequest(f"email is not valid: it has the character U+{ord(blank[0]):04X}, which nobody can see")
    try:
        return validate_email(email, check_deliverability=False, test_environment=True).normalized
    except (EmailNotValidError, UnicodeError) as error:
        raise BadRequest(f"email is not valid: {error}") from None


def _checked(password: str) -> str:
    try:
        size = len(password.encode())
    except UnicodeEncodeError:
        raise BadRequest("password has characters that are not Unicode text") from None
    if not PASSWORD_BYTES[0] <= size <= PASSWORD_BYTES[1]:
        least, most = PASSWORD_BYTES
        raise BadRequest(f"password has {size} bytes; {least} to {most:,} are allowed")
    return password
