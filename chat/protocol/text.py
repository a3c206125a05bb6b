"""The rules for what people may type. Pure."""

import re
import unicodedata

from chat.errors import BadRequest

MAX_MESSAGE_CHARS = 4_000
MAX_ROOM_NAME_CHARS = 100
MAX_TOPIC_CHARS = 400

_LINE_BREAKS = re.compile("\r\n?")
_FORBIDDEN = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\ud800-\udfff]")  # controls but \n; lone surrogates
_FORBIDDEN_IN_LINE = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
INVISIBLE_LETTERS = "\u115f\u1160\u2800\u3164\uffa0"  # letters and a symbol by their category that show nothing
_INVISIBLE_CATEGORIES = {"Zs", "Zl", "Zp", "Cf", "Mn", "Me"}  # spaces, formats, and marks that need a letter


def clean_text(text: str) -> str:
    """A message as it is stored: line breaks as \\n, trimmed, 1 to 4,000 characters. Raises `BadRequest`."""
    return _clean(_LINE_BREAKS.sub("\n", text), "chatmessage", _FORBIDDEN, 1, MAX_MESSAGE_CHARS)


def clean_line(text: str, field: str, minimum: int, maximum: int) -> str:
    """A one-line text (a room's name or topic) as it is stored: trimmed, `minimum` to `maximum` characters, at least
    one of them visible unless it is empty. Raises `BadRequest`."""
    text = _clean(text, field, _FORBIDDEN_IN_LINE, minimum, maximum)
    if text and not any(map(_is_visible, text)):
        raise BadRequest(f"{field} has no visible character.")
    return text


def check_request_id(request_id: str | None) -> None:
    """Raise `BadRequest` for a requestId with characters that PostgreSQL or a log line cannot hold."""
    if request_id is not None and (bad := _FORBIDDEN_IN_LINE.search(request_id)):
        raise BadRequest(f"requestId has the character U+{ord(bad[0]):04X}, which is not allowed.")


def _is_visible(character: str) -> bool:
    return character not in INVISIBLE_LETTERS and unicodedata.category(character) not in _INVISIBLE_CATEGORIES


def _clean(text: str, field: str, forbidden: re.Pattern[str], minimum: int, maximum: int) -> str:
    if bad := forbidden.search(text):  # before trimming, which would remove some of them without a word
        raise BadRequest(f"{field} has the character U+{ord(bad[0]):04X}, which is not allowed.")
    text = text.strip()
    if not minimum <= len(text) <= maximum:
        raise BadRequest(f"{field} has {len(text)} characters; {minimum} to {maximum} are allowed.")
    return text
