"""JSON in and out, with errors that name the field. Pure."""

import json
import re
from collections.abc import Callable
from typing import Annotated, TypeVar

import msgspec
from msgspec import Meta

from chat.errors import BadRequest

BIGINT = 2**63 - 1  # the largest of PostgreSQL
Number = Annotated[int, Meta(ge=0, le=BIGINT)]
ClientId = Annotated[str, Meta(min_length=8, max_length=64)]
T = TypeVar("T")
encode = msgspec.json.Encoder().encode


def read(decode: Callable[[bytes], T], data: bytes) -> T:
    """What a msgspec decoder makes of the data; what it cannot read becomes `BadRequest`."""
    try:
        return decode(data)
    except msgspec.ValidationError as error:
        raise BadRequest(str(error)) from None
    except UnicodeDecodeError:
        raise BadRequest("the text is not UTF-8") from None
    except msgspec.DecodeError as error:
        if _HALF_A_PAIR.search(_PAIRS.sub(b"", data)):
            raise BadRequest("the text has half of a surrogate pair, which is no character") from None
        raise BadRequest(f"the text is not JSON: {error}") from None
    except RecursionError:
        raise BadRequest("the JSON is nested too deeply") from None


_PAIRS = re.compile(rb"\\\\|\\u[dD][89abAB]..\\u[dD][c-fC-F]..")
_HALF_A_PAIR = re.compile(rb"\\u[dD][89a-fA-F]")


def echo_of(frame: bytes) -> tuple[str | None, int | None]:
    """clientId and chatroomId of a frame that could not be decoded, as far as they can be made out.

    So that the error reaches the right message even when that message is the error.
    """
    try:
        fields = json.loads(frame)  # unlike msgspec, it reads a frame with half a surrogate pair in it
        client_id, room_id = fields.get("clientId"), fields.get("chatroomId")
    except (ValueError, RecursionError, AttributeError):
        return None, None
    return (
        client_id if isinstance(client_id, str) and len(client_id) <= 64 and not _HALF.search(client_id) else None,
        room_id if type(room_id) is int and abs(room_id) < 2**63 else None,
    )


_HALF = re.compile("[\ud800-\udfff]")


def number(text: str) -> int:
    """A bigint of decimal digits, not negative. Raises `BadRequest`."""
    # isdecimal alone would take other scripts' digits, and int alone signs, blanks and underscores.
    if not (text.isascii() and text.isdecimal() and len(text) < 20 and int(text) <= BIGINT):
        raise BadRequest(f"a whole number from 0 to {BIGINT} is expected")
    return int(text)
