"""What comes in: bodies, numbers, limits."""

import asyncio
from typing import TypeVar

import msgspec
from aiohttp import web

from chat.errors import BadRequest, NotFound, RequestTimeout, UnsupportedMediaType
from chat.http import app_keys as keys
from chat.protocol.codec import BIGINT, number, read

T = TypeVar("T")


async def _body(request: web.Request, kind: type[T]) -> T:
    """The JSON body as a struct. Raises `BadRequest`, `TooLarge`, `RequestTimeout`, `UnsupportedMediaType`."""
    if request.content_type != "application/json":
        raise UnsupportedMediaType("the body has to be JSON: Content-Type: application/json")
    try:
        body = await asyncio.wait_for(request.read(), request.app[keys.SETTINGS].body_timeout_s)
    except TimeoutError:
        raise RequestTimeout("the body did not arrive in time") from None
    decoder = msgspec.json.Decoder(kind)
    return read(decoder.decode, body)


def _room_id(request: web.Request) -> int:
    room_id = int(request.match_info["room_id"])
    if room_id > BIGINT:
        raise NotFound("there is no such room")
    return room_id


def _number(request: web.Request, name: str, least: int = 0, most: int = BIGINT) -> int | None:
    text = request.query.get(name)
    if text is None:
        return None
    try:
        found = number(text)
    except BadRequest:
        found = -1
    if not least <= found <= most:
        raise BadRequest(f"{name} has to be a whole number from {least} to {most}")
    return found


def _limit(request: web.Request, bounds: tuple[int, int]) -> int:
    default, most = bounds
    return _number(request, "limit", 1, most) or default
