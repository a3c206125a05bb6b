"""What can go wrong, in one small family.

A `ChatError` is raised anywhere and rendered in two places only: the HTTP middleware
(`{"error": {"code", "message"}}` with its status) and the websocket connection (an error frame).
"""


class OperatorError(Exception):
    """An error for the operator: printed as one line, without a traceback.

    The message says what is wrong and how to fix it.
    """


class ChatError(Exception):
    """An error for the client.

    code: for programs; never changes its meaning
    text: for people; says what happened and what to do
    status: the HTTP status
    retry_ms: when trying again makes sense, or None
    headers: of the HTTP response
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
    """The token is valid, but its user may not do this."""

    code, status = "forbidden", 403


class NotFound(ChatError):
    """There is no such thing, or none that this user may see."""

    code, status = "not_found", 404


class RequestTimeout(ChatError):
    """The body did not arrive in time."""

    code, status = "request_timeout", 408


class Conflict(ChatError):
    """Something is taken: a username, an e-mail address, a room name, a requestId."""

    code, status = "conflict", 409


class TooLarge(ChatError):
    """The body is larger than is ever needed."""

    code, status = "too_large", 413


class UnsupportedMediaType(ChatError):
    """The body is not application/json."""

    code, status = "unsupported_media_type", 415


class RateLimited(ChatError):
    """More frames than a connection may send."""

    code, status = "rate_limited", 429


class Unavailable(ChatError):
    """Certainly not done: a part of the server is missing or too busy. Try again later."""

    code, status = "unavailable", 503

    def __init__(self, text: str, *, code: str | None = None, retry_ms: int = 1000) -> None:
        super().__init__(text, code=code, retry_ms=retry_ms)


class OutcomeUnknown(ChatError):
    """Perhaps done, perhaps not. Repeating the request with the same requestId tells which.

    Not an `Unavailable`: `except Unavailable` means "certainly not done".
    """

    code, status = "unknown", 504

    def __init__(self, text: str, *, retry_ms: int = 1000) -> None:
        super().__init__(text, retry_ms=retry_ms)
