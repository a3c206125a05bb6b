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
# What shows nothing beside letters: those above, the characters that Unicode calls ignorable by default, and other
# formats (category Cf). Unassigned ranges that Unicode keeps for such characters are among them.
_IGNORABLE = re.compile(
    f"[{INVISIBLE_LETTERS}\u034f\u17b4\u17b5\u180b-\u180f\u2065\ufe00-\ufe0f\ufff0-\ufff8\U000e0000-\U000e0fff]"
)

RESERVED_USERNAMES = (
    "system",
    "server",
    "admin",
    "administrator",
    "moderator",
    "robot",
    "bot",
    "room",
    "all",
    "here",
    "everyone",
    "me",
)  # the server, its robot, and words that a client may give a meaning of its own
RESERVED_USERNAME_PREFIX = "deleted-"  # of accounts that were left for good
_USERNAME_FOLDING = str.maketrans({".": "", "-": "", "_": "", "0": "o", "1": "l", "i": "l"})


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


def is_reserved_username(username: str) -> bool:
    """Whether a new username looks like one of the server's own names: without dots, dashes and underscores, with O and
    0 the same, and with I, L and 1 the same."""
    folded = fold_username(username)
    return folded in _RESERVED or folded.startswith(_RESERVED_PREFIX)


def fold_username(username: str) -> str:
    """A username (of ASCII characters) without what a glance does not tell apart."""
    return username.lower().translate(_USERNAME_FOLDING)


_RESERVED = frozenset(map(fold_username, RESERVED_USERNAMES))
_RESERVED_PREFIX = fold_username(RESERVED_USERNAME_PREFIX)


def room_name_key(name: str) -> str:
    """What the names of two rooms may not have in common: the name without case, width and what cannot be seen.

    Blanks at the ends do not count, and several blanks are one. The key of a key is the key itself.
    """
    while (key := _fold_name(name)) != name:  # twice for almost all: each step may give the one before it more to do
        name = key
    return key


def _fold_name(name: str) -> str:
    compatible = unicodedata.normalize("NFKC", name).casefold()
    visible = "".join(each for each in _IGNORABLE.sub("", compatible) if unicodedata.category(each) != "Cf")
    return " ".join(visible.split())


def _is_visible(character: str) -> bool:
    return not _IGNORABLE.match(character) and unicodedata.category(character) not in _INVISIBLE_CATEGORIES


def _clean(text: str, field: str, forbidden: re.Pattern[str], minimum: int, maximum: int) -> str:
    if bad := forbidden.search(text):  # before trimming, which would remove some of them without a word
        raise BadRequest(f"{field} has the character U+{ord(bad[0]):04X}, which is not allowed.")
    text = text.strip()
    if not minimum <= len(text) <= maximum:
        raise BadRequest(f"{field} has {len(text)} characters; {minimum} to {maximum} are allowed.")
    return text
