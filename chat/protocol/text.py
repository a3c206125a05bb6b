"""The rules for what people may type. Pure."""

import re
import unicodedata

from chat.errors import BadRequest
from chat.protocol.frames import MESSAGE_CHARS

_LINE_BREAKS = re.compile("\r\n?")
_FORBIDDEN = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\ud800-\udfff]")  # controls but \n; lone surrogates
_FORBIDDEN_IN_LINE = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
BLANK = "\u115f\u1160\u2800\u3164\uffa0"  # letters and a symbol by their category, but nobody sees them
_UNSEEN = {"Zs", "Zl", "Zp", "Cf", "Mn", "Me"}  # spaces, formats, and marks that need a letter


def clean_text(text: str) -> str:
    """A message as it is stored: line breaks as \\n, trimmed, 1 to 4,000 characters. Raises `BadRequest`."""
    return _clean(_LINE_BREAKS.sub("\n", text), "chatmessage", _FORBIDDEN, 1, MESSAGE_CHARS)


def clean_line(text: str, field: str, least: int, most: int) -> str:
    """A one-line text (a room's name or topic) as it is stored: trimmed, `least` to `most` characters, not all
    invisible. Raises `BadRequest`."""
    text = _clean(text, field, _FORBIDDEN_IN_LINE, least, most)
    if text and not any(map(_is_seen, text)):
        raise BadRequest(f"{field} has no character that can be seen")
    return text


def _is_seen(character: str) -> bool:
    return character not in BLANK and unicodedata.category(character) not in _UNSEEN


def check_client_id(client_id: str | None) -> None:
    """Raises `BadRequest` for a clientId with characters that PostgreSQL or a log line cannot hold."""
    if client_id is not None and (bad := _FORBIDDEN_IN_LINE.search(client_id)):
        raise BadRequest(f"clientId has the character U+{ord(bad[0]):04X}, which is not allowed")


def _clean(text: str, field: str, forbidden: re.Pattern[str], least: int, most: int) -> str:
    if bad := forbidden.search(text):  # before the trimming, which would take some of them off unsaid
        raise BadRequest(f"{field} has the character U+{ord(bad[0]):04X}, which is not allowed")
    text = text.strip()
    if not least <= len(text) <= most:
        raise BadRequest(f"{field} has {len(text)} characters; {least} to {most} are allowed")
    return text
