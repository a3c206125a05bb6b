"""What comes in: bodies, ids, numbers and limits."""

import asyncio
from typing import NamedTuple, TypeVar

import msgspec
from aiohttp import hdrs, web

from chat.errors import BadRequest, RequestTimeout, UnsupportedMediaType
from chat.eventlog.refusals import no_such_room
from chat.http import app_keys
from chat.http.content_encodings import decode_body
from chat.protocol.codec import MAX_BIGINT, decode_with, parse_bigint
from chat.protocol.frames import MAX_FRAME_BYTES

T = TypeVar("T")

IDEMPOTENCY_KEY = "Idempotency-Key"
MAX_BODY_BYTES = MAX_FRAME_BYTES  # of a request, encoded and decoded: what a websocket may send, REST may


class PageLimit(NamedTuple):
    """How many rows of a list an answer has: without ?limit=, and at most."""

    default: int
    maximum: int


async def parse_body(request: web.Request, kind: type[T]) -> T:
    """The JSON body as a struct. Raises `BadRequest`, `TooLarge`, `RequestTimeout`, `UnsupportedMediaType`."""
    if request.content_type != "application/json":
        raise UnsupportedMediaType("The body has to be JSON: Content-Type: application/json.")
    try:
        body = await asyncio.wait_for(request.read(), request.app[app_keys.SETTINGS].request_body_timeout_s)
    except TimeoutError:
        raise RequestTimeout("The body did not arrive in time. Send the request again.") from None
    encoding = ", ".join(request.headers.getall(hdrs.CONTENT_ENCODING, ()))
    body = decode_body(body, encoding, max_bytes=MAX_BODY_BYTES)
    decoder = msgspec.json.Decoder(kind)
    return decode_with(decoder.decode, body)


def room_id(request: web.Request) -> int:
    """The room of the address. Raises `NotFound`."""
    found = int(request.match_info["room_id"])
    if found > MAX_BIGINT:
        raise no_such_room()
    return found


def int_query(request: web.Request, name: str, minimum: int = 0, maximum: int = MAX_BIGINT) -> int | None:
    """A whole number of the query, None if it is not given. Raises `BadRequest`."""
    text = request.query.get(name)
    if text is None:
        return None
    try:
        found = parse_bigint(text)
    except BadRequest:
        found = -1
    if not minimum <= found <= maximum:
        raise BadRequest(f"{name} has to be a whole number from {minimum} to {maximum}.")
    return found


def page_limit(request: web.Request, limit: PageLimit) -> int:
    """How many rows are asked for. Raises `BadRequest`."""
    return int_query(request, "limit", 1, limit.maximum) or limit.default


def request_id(request: web.Request, in_body: str | None) -> str | None:
    """The key by which a write is recognised: the body's requestId or the header Idempotency-Key, with or without
    quotes. Raises `BadRequest` when both are given and differ, and for a header of the wrong length."""
    header = request.headers.get(IDEMPOTENCY_KEY)
    if header is None:
        return in_body
    key = header.strip()
    key = key[1:-1] if len(key) > 1 and key[0] == key[-1] == '"' else key
    if not 8 <= len(key) <= 64:
        raise BadRequest(f"{IDEMPOTENCY_KEY} has {len(key)} characters; 8 to 64 are allowed.")
    if in_body is not None and in_body != key:
        raise BadRequest(f"{IDEMPOTENCY_KEY} and requestId differ. Send one of them, or the same value.")
    return key
