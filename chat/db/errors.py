"""Errors of the database. There are three, because a caller must know what became of a write:

Unreachable        no connection could be made: certainly not done
StatementFailed    PostgreSQL answered with an error: certainly not done
StatementTimeout   the statement was sent and no answer came: perhaps done
"""

import logging

import psycopg2

from chat.errors import ChatError, OutcomeUnknown, Unavailable

log = logging.getLogger(__name__)

# PostgreSQL's process reports one of these when it ends. It may have committed just before.
SHUTDOWN_SQLSTATES = ("57P01", "57P02", "57P03", "57P04", "57P05")


class DatabaseError(ChatError):
    """The base of the three. Attribute:

    is_outage: whether the state of PostgreSQL is the cause, so that waiting may help; otherwise it is a lock, the data
        or a fault in our SQL
    """

    is_outage = True


class Unreachable(DatabaseError, Unavailable):
    """There is no connection to PostgreSQL. Nothing was sent, so nothing was done."""

    def __init__(self) -> None:
        super().__init__("The database cannot be reached; nothing was done. Try again in a moment.")


class StatementFailed(DatabaseError):
    """PostgreSQL answered with an error, so nothing was done.

    The client gets 503 `unavailable` if waiting may help, otherwise 500 `internal`. Attributes:

    sqlstate: PostgreSQL's five-character code
    reason: the primary message, for the log; without DETAIL, which holds whole rows
    """

    def __init__(self, error: psycopg2.Error) -> None:
        self.sqlstate: str = error.pgcode or "XX000"
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
        """Whether another transaction held a lock for longer than `LOCK_TIMEOUT_S`."""
        return self.sqlstate == "55P03"

    @property
    def is_transient(self) -> bool:
        """Whether the state of PostgreSQL is the cause (read-only, full, stopping), so that waiting may help."""
        return self.sqlstate[:2] in ("08", "25", "40", "53", "57", "58")


class StatementTimeout(DatabaseError, OutcomeUnknown):
    """The statement was sent and no answer came. Perhaps it was done."""

    def __init__(self) -> None:
        super().__init__("The database did not answer in time. Repeat the request; a write with the same requestId.")


def translate_error(name: str, error: BaseException | None) -> StatementFailed | StatementTimeout:
    """Return the driver's error as one of ours. An error that should never happen is logged here with its statement."""
    if isinstance(error, psycopg2.Error) and error.pgcode and error.pgcode not in SHUTDOWN_SQLSTATES:
        failed = StatementFailed(error)
        if not (failed.is_transient or failed.is_lock_timeout or failed.is_data_error):
            log.error("PostgreSQL rejects sql/%s.sql: %s", name, failed.reason)
        return failed
    return StatementTimeout()
