"""JSON in and out, with errors that name the field. Pure."""

import json
import re
from collections.abc import Callable
from typing import Annotated, TypeVar

import msgspec
from msgspec import Meta

from chat.errors import BadRequest

MAX_BIGINT = 2**63 - 1  # PostgreSQL's largest bigint
BigInt = Annotated[int, Meta(ge=0, le=MAX_BIGINT)]
RequestId = Annotated[str, Meta(min_length=8, max_length=64)]
T = TypeVar("T")

encode = msgspec.json.Encoder().encode
FinishedJson = msgspec.Raw  # a field whose JSON exists already: `encode` copies it


def decode_with(decode: Callable[[bytes], T], data: bytes) -> T:
    """Decode with a msgspec decoder. Raises `BadRequest`, whose text names the field or the place."""
    try:
        return decode(data)
    except msgspec.ValidationError as error:
        raise BadRequest(str(error)) from None
    except UnicodeDecodeError:
        raise BadRequest("The text is not UTF-8.") from None
    except msgspec.DecodeError as error:
        if _LONE_SURROGATE.search(_SURROGATE_PAIRS.sub(b"", data)):
            raise BadRequest("The text has half of a surrogate pair, which is not a character.") from None
        raise BadRequest(f"The text is not JSON: {error}.") from None
    except RecursionError:
        raise BadRequest("The JSON is nested too deeply.") from None


_SURROGATE_PAIRS = re.compile(rb"\\\\|\\u[dD][89abAB]..\\u[dD][c-fC-F]..")
_LONE_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")


def salvage_ids(frame: bytes) -> tuple[str | None, int | None]:
    """The requestId and chatroomId of a frame that could not be decoded, as far as they can be read.

    With them an error reaches the message that it is about, even when that message is malformed.
    """
    try:
        fields = json.loads(frame)  # unlike msgspec, it reads a frame that has half of a surrogate pair
        request_id, room_id = fields.get("requestId"), fields.get("chatroomId")
    except (ValueError, RecursionError, AttributeError):
        return None, None
    return (
        request_id
        if isinstance(request_id, str) and len(request_id) <= 64 and not _SURROGATE.search(request_id)
        else None,
        room_id if type(room_id) is int and abs(room_id) < 2**63 else None,
    )


_SURROGATE = re.compile("[\ud800-\udfff]")


def parse_bigint(text: str) -> int:
    """A bigint of decimal digits, not negative. Raises `BadRequest`."""
    # isdecimal alone would accept the digits of other scripts, int alone signs, blanks and underscores.
    if not (text.isascii() and text.isdecimal() and len(text) < 20 and int(text) <= MAX_BIGINT):
        raise BadRequest(f"A whole number from 0 to {MAX_BIGINT} is expected.")
    return int(text)
