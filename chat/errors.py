"""What can go wrong, in one small family, and how a websocket may end.

A `ChatError` is raised anywhere and rendered in two places only: the HTTP middleware
(`{"error": {"code", "message"}}` with its status) and the websocket session (a frame of type 14).
"""


class OperatorError(Exception):
    """An error for the operator: printed as one line, without a traceback.

    The message says what is wrong and how to fix it.
    """


class ChatError(Exception):
    """A refusal that the client is told about.

    `code` is for programs and never changes its meaning, `text` is for people and says what to do,
    `status` is the HTTP status, `retry_ms` (if not None) is when trying again makes sense.
    """

    code = "internal"
    status = 500

    def __init__(
        self,
        text: str,
        *,
        code: str | None = None,
        status: int | None = None,
        retry_ms: int | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(text)
        self.text = text
        self.code = code or type(self).code
        self.status = status or type(self).status
        self.retry_ms = retry_ms
        self.headers = dict(headers or {})
        if retry_ms is not None:
            self.headers.setdefault("Retry-After", str(max(1, round(retry_ms / 1000))))


class BadRequest(ChatError):
    """The request or frame is not of the documented form."""

    code, status = "bad_request", 400


class Unauthorized(ChatError):
    """No valid token, or wrong credentials."""

    code, status = "unauthorized", 401

    def __init__(self, text: str, *, code: str | None = None) -> None:
        super().__init__(text, code=code, headers={"WWW-Authenticate": 'Bearer realm="chat"'})


class Forbidden(ChatError):
    """The token is good, but this is not allowed to its bearer."""

    code, status = "forbidden", 403


class NotFound(ChatError):
    """There is no such thing, or none that this user may see."""

    code, status = "not_found", 404


class RequestTimeout(ChatError):
    """The body did not arrive in time."""

    code, status = "request_timeout", 408


class Conflict(ChatError):
    """It is taken: a username, an e-mail address, a room name, a clientId."""

    code, status = "conflict", 409


class TooLarge(ChatError):
    """The body is larger than is ever needed."""

    code, status = "too_large", 413


class UnsupportedMediaType(ChatError):
    """The body is not application/json."""

    code, status = "unsupported_media_type", 415


class RateLimited(ChatError):
    """More frames than this socket may send."""

    code, status = "rate_limited", 429


class Unavailable(ChatError):
    """Certainly not done: a part of the server is missing or too busy. Try again later."""

    code, status = "unavailable", 503

    def __init__(self, text: str, *, code: str | None = None, retry_ms: int = 1000) -> None:
        super().__init__(text, code=code, retry_ms=retry_ms)


class OutcomeUnknown(ChatError):
    """Perhaps done, perhaps not. Repeating the request with the same clientId tells which.

    Not an `Unavailable`: `except Unavailable` means "certainly not done".
    """

    code, status = "unknown", 504

    def __init__(self, text: str, *, retry_ms: int = 1000) -> None:
        super().__init__(text, retry_ms=retry_ms)
