"""The repository: hand-written SQL by name. The only module that knows aiopg and psycopg2.

`sql/<noun>/<verb>.sql` holds one unit of work: `await db.one("users/get", user_id=7)`. The verb of the call
says what comes back: `all` rows, `one` row or None, one `value`, or nothing (`run`). A file is sent as one
string: several statements in it are one round trip and one transaction, and the last one's rows come back.

A `DatabaseError` is one of three siblings, because the caller must know what became of a write:

    Unreachable        no connection could be made: certainly not done
    StatementFailed    PostgreSQL answered with an error: certainly not done
    StatementTimeout   sent, and no answer came: perhaps done
"""

import logging

import psycopg2

from chat.errors import ChatError, OutcomeUnknown, Unavailable

log = logging.getLogger(__name__)

# What a server process says as it ends: 57P01 to 57P05. It may have committed just before.
_LAST_WORDS = ("57P01", "57P02", "57P03", "57P04", "57P05")


class DatabaseError(ChatError):
    """The base of the three. `is_outage`: whether the state of PostgreSQL is the cause, so that waiting may help;
    else it is a lock, the data, or a fault in our SQL."""

    is_outage = True


class Unreachable(DatabaseError, Unavailable):
    """There is no connection to PostgreSQL. Nothing was sent, so nothing was done."""

    def __init__(self) -> None:
        super().__init__("The database cannot be reached; nothing was done. Try again in a moment.")


class StatementFailed(DatabaseError):
    """PostgreSQL answered with an error, so nothing was done.

    The client is told 503 `unavailable` if waiting may help, else 500 `internal`. Attributes:
    sqlstate: PostgreSQL's five-character code
    constraint: the name of the violated constraint, or ""
    reason: what a log may show: the primary message, without DETAIL, which holds whole rows
    """

    def __init__(self, error: psycopg2.Error) -> None:
        self.sqlstate: str = error.pgcode or "XX000"
        self.constraint: str = error.diag.constraint_name or ""
        self.reason = f"{self.sqlstate} {error.diag.message_primary or ''}"
        self.is_outage = self.is_transient
        if self.is_transient or self.is_lock_timeout:
            super().__init__(
                "The database did not accept this; nothing was done. Try again in a moment.",
                code=Unavailable.code,
                status=Unavailable.status,
                retry_ms=1000,
            )
        else:
            super().__init__("Something went wrong in the server. It has been logged.")

    @property
    def is_data_error(self) -> bool:
        """Whether the data is at fault (classes 22 and 23): the same statement would fail again."""
        return self.sqlstate[:2] in ("22", "23")

    @property
    def is_lock_timeout(self) -> bool:
        """Whether another transaction held a lock for longer than `LOCK_S`."""
        return self.sqlstate == "55P03"

    @property
    def is_transient(self) -> bool:
        """Whether the state of PostgreSQL is the cause (read-only, full, stopping), so that waiting may help."""
        return self.sqlstate[:2] in ("08", "25", "40", "53", "57", "58")


class StatementTimeout(DatabaseError, OutcomeUnknown):
    """The statement was sent and no answer came; perhaps it was done."""

    def __init__(self) -> None:
        super().__init__("The database did not answer in time. Repeat the request; a write with the same clientId.")


def translate_error(name: str, error: BaseException | None) -> StatementFailed | StatementTimeout:
    """The driver's error as one of ours. One that should never happen is logged here, where its statement is known."""
    if isinstance(error, psycopg2.Error) and error.pgcode and error.pgcode not in _LAST_WORDS:
        failed = StatementFailed(error)
        if not (failed.is_transient or failed.is_lock_timeout or failed.is_data_error):
            log.error("PostgreSQL rejects sql/%s.sql: %s", name, failed.reason)
        return failed
    return StatementTimeout()
