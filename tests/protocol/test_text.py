"""chat/protocol/text.py: names that are one although their characters differ."""

import re
import string
import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from chat.domain.accounts import USERNAME_PATTERN
from chat.errors import BadRequest
from chat.protocol.text import RESERVED_USERNAMES, clean_line, is_reserved_username, room_name_key

INVISIBLE = (
    "\u00ad\u034f\u061c\u115f\u1160\u17b4\u180b\u180e\u200b\u200c\u200d\u200e"
    "\u2060\u2800\u3164\ufe0f\ufeff\uffa0\U000e0041"
)
ALIKE = {"o": "oO0", "i": "iI1lL", "l": "lLiI1"}


# --- reserved usernames -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "username",
    [
        *("system", "server", "admin", "administrator", "moderator", "robot", "bot", "room", "all", "here", "everyone"),
        *(
            "Admin",
            "ADMIN",
            "adm1n",
            "admIn",
            "a.d.m.i.n",
            "-admin-",
            "__admin",
            "adm_1-n.",
            "Adrnin".replace("rn", "m"),
        ),
        *("r0b0t", "R0BOT", "b.0.t", "a11", "aII", "a-l-l", "r00m", "sys.tem", "m0derator", "me.", "_me", "m-e", "M.E"),
        *("deleted-17", "deleted_17", "deleted.17", "de1eted-17", "DELETED-x", "deleted17", "deleted", "d-e-leted-1"),
    ],
)
def test_a_name_like_one_of_the_servers_own_is_reserved(username: str) -> None:
    assert USERNAME_PATTERN.fullmatch(username)
    assert is_reserved_username(username)


@pytest.mark.parametrize(
    "username",
    [
        "ada",
        "admins",
        "admin2",
        "sysadmin",
        "bob.bot",
        "robots",
        "roomy",
        "alll",
        "wallace",
        "there",
        "mel",
        "m33",
        "...",
    ],
)
def test_other_names_are_free(username: str) -> None:
    assert not is_reserved_username(username)


@st.composite
def disguised(draw: st.DrawFn) -> str:
    """A reserved name with other letters that look the same, in any case, and with dots, dashes and underscores."""
    letters = [
        draw(st.sampled_from(ALIKE.get(each, each + each.upper())))
        for each in draw(st.sampled_from(RESERVED_USERNAMES))
    ]
    return "".join(letter + draw(st.text("._-", max_size=2)) for letter in letters)


@given(disguised())
def test_no_disguise_helps(username: str) -> None:
    assert is_reserved_username(username)


@given(st.text(string.ascii_letters + string.digits + "._-", min_size=3, max_size=32))
def test_whether_a_name_is_reserved_depends_on_its_looks_alone(username: str) -> None:
    reserved = is_reserved_username(username)
    plain = re.sub("[._-]", "", username)
    assert is_reserved_username(plain) == reserved
    assert is_reserved_username(username.swapcase()) == reserved
    assert is_reserved_username(username.translate(str.maketrans("oO0iIlL1", "000111ll"))) == reserved


# --- the names of rooms -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "twin",
    [
        "general talk",
        "GENERAL TALK",
        "Ｇｅｎｅｒａｌ　Ｔａｌｋ",
        "Gen\u200beral Talk",
        "Gen\u00aderal Talk",
        "\u2060General Talk\ufeff",
        "General   Talk",
        "General\u00a0Talk",
        "General\u3000 Talk",
        "General Talk\u3164",
        "Gener\u034fal Talk",
        "𝐆𝐞𝐧𝐞𝐫𝐚𝐥 Talk",
        "General\ufe0f Talk\U000e0041",
    ],
)
def test_names_that_only_look_the_same_are_one(twin: str) -> None:
    assert room_name_key(twin) == room_name_key("General Talk") == "general talk"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Straße", "STRASSE"),
        ("ΝΙΚΟΣ", "νικος"),
        ("é", "e\u0301"),
        ("É", "e\u200b\u0301"),
        ("ﬁn", "fin"),
        ("ｶﾞ", "ガ"),
        ("①", "1"),
    ],
)
def test_case_and_width_are_those_of_every_script(one: str, other: str) -> None:
    assert room_name_key(one) == room_name_key(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [("Team A", "TeamA"), ("a", "á"), ("a-b", "a b"), ("O", "0"), ("के", "क"), ("が", "か"), ("🙂", "🙃"), ("а", "a")],
)
def test_names_that_look_different_are_two(one: str, other: str) -> None:
    assert room_name_key(one) != room_name_key(other)


@given(st.text(max_size=20), st.text(INVISIBLE, max_size=3), st.text(max_size=20))
@example("e", "\u200b", "\u0301")
def test_what_cannot_be_seen_changes_no_key(before: str, invisible: str, after: str) -> None:
    """An invisible character may keep a letter from its accent only as long as it is there."""
    key = room_name_key(before + invisible + after)
    assert key == room_name_key(before + after)
    assert key == room_name_key(key)
    assert key == room_name_key(unicodedata.normalize("NFD", before + after))


@given(st.text(min_size=1, max_size=100))
def test_every_name_that_is_allowed_has_a_key(name: str) -> None:
    try:
        name = clean_line(name, "name", 1, 100)
    except BadRequest:
        return
    assert room_name_key(name)


@pytest.mark.parametrize("name", ["\u2065", "\ufff0", "\U000e0fff", "\u2065 \ufe0f"])
def test_a_name_of_ignorable_characters_has_no_visible_one(name: str) -> None:
    with pytest.raises(BadRequest, match="visible"):
        clean_line(name, "name", 1, 100)
