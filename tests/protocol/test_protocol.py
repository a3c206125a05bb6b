"""chat/protocol: pure, so tested with plain asserts and generated inputs."""

import json
import re
import unicodedata
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from chat.errors import BadRequest
from chat.eventlog.event import Event, event_frame
from chat.protocol import codec, frames, notifications, text
from chat.protocol.codec import salvage_ids
from chat.protocol.frames import FrameType, ReadMarker, Resume, SendMessage, decode
from chat.protocol.notifications import Notification, Subject
from chat.protocol.text import clean_line, clean_text

AT = datetime(2026, 11, 20, 22, 0, 9, 120_000, UTC)
ANY_TEXT = st.text(st.characters(exclude_categories=()))  # lone surrogates and controls, too


def refusal(frame: bytes | str) -> str:
    """Why a frame is refused."""
    with pytest.raises(BadRequest) as caught:
        decode(frame.encode() if isinstance(frame, str) else frame)
    return caught.value.text


# --- the language -------------------------------------------------------------------------------------


def test_each_direction_has_one_struct_for_each_type() -> None:
    structs = [each for each in vars(frames).values() if isinstance(each, type) and issubclass(each, msgspec.Struct)]
    structs = [each for each in structs if each.__struct_config__.tag is not None]
    incoming = {SendMessage, Resume, ReadMarker}
    down = [each.__struct_config__.tag for each in structs if each not in incoming] + [ReadMarker.__struct_config__.tag]
    up = [each.__struct_config__.tag for each in incoming]
    assert set(up) == {1, 11, 17} and len(up) == 3
    assert set(down) == {1, 5, 6, 10, 11, 13, 14, 17} and len(down) == 8
    assert all(each.__struct_config__.tag_field == "type" for each in structs)


def test_the_map_at_the_top_names_every_type() -> None:
    assert frames.__doc__ is not None
    up, down = (
        [int(number) for number in re.findall(r"\b\d+\b", line)] for line in frames.__doc__.splitlines() if "→" in line
    )
    assert (up, down) == ([1, 11, 17], [1, 5, 6, 10, 11, 13, 14, 17])


@pytest.mark.parametrize(
    ("frame", "meant"),
    [
        ('{"type":1,"chatroomId":1,"chatmessage":"hi"}', SendMessage(1, "hi")),
        (
            '{"chatmessage":"hi","chatuser":"me@example.com","unheardOf":{},"chatroomId":1,"type":1}',
            SendMessage(1, "hi"),
        ),
        (
            '{"type":1,"chatroomId":1,"chatmessage":"\\ud83d\\ude00","requestId":"12345678"}',
            SendMessage(1, "😀", "12345678"),
        ),
        ('{"type":11,"chatroomId":1,"after":0}', Resume(1, 0)),
        ('{"type":11,"chatroomId":1,"after":9223372036854775807,"epoch":"x"}', Resume(1, 2**63 - 1, "x")),
        ('{"type":17,"chatroomId":1,"messageNo":2}', ReadMarker(1, 2)),
    ],
)
def test_a_frame_becomes_its_struct(frame: str, meant: Any) -> None:
    assert decode(frame.encode()) == meant


@pytest.mark.parametrize(
    ("frame", "said"),
    [
        ('{"chatroomId":1,"chatmessage":"x"}', "type"),
        ('{"type":"1","chatroomId":1,"chatmessage":"x"}', "$.type"),
        ('{"type":2,"chatroomId":1,"chatmessage":"x"}', "$.type"),
        ('{"type":1,"chatmessage":"x"}', "chatroomId"),
        ('{"type":1,"chatroomId":true,"chatmessage":"x"}', "$.chatroomId"),
        ('{"type":1,"chatroomId":1,"chatmessage":null}', "$.chatmessage"),
        ('{"type":1,"chatroomId":1,"chatmessage":"x","requestId":"' + "x" * 65 + '"}', "$.requestId"),
        ('{"type":11,"chatroomId":1,"after":9223372036854775808}', "$.after"),
        ('{"type":17,"chatroomId":1,"messageNo":1.5}', "$.messageNo"),
        (b'{"type":1,"chatroomId":1,"chatmessage":"\xff"}', "UTF-8"),
        (b'{"type":1,"chatroomId":1,"chatmessage":"\xed\xa0\x80"}', "UTF-8"),
        ("", "JSON"),
        ('{"x":' + "[" * 100_000, "nested"),
    ],
)
def test_a_refusal_names_the_field(frame: bytes | str, said: str) -> None:
    assert said in refusal(frame)


@pytest.mark.parametrize("text", ["\\ud800", "\\uDFFF", "\\ude00\\ud83d", "\\ud83d\\u0041", "\\\\\\ud83d", "\\ud83dx"])
def test_a_lone_surrogate_is_named_in_the_error(text: str) -> None:
    frame = f'{{"type":1,"chatroomId":7,"chatmessage":"{text}","requestId":"12345678"}}'
    assert "surrogate" in refusal(frame)
    assert salvage_ids(frame.encode()) == ("12345678", 7)


def test_text_that_only_looks_like_a_lone_surrogate_passes() -> None:
    assert decode(rb'{"type":1,"chatroomId":1,"chatmessage":"\\ud83d"}') == SendMessage(1, "\\ud83d")
    assert "surrogate" not in refusal(rb'{"chatmessage":"\\ud83d"')


FRAME = b'{"type":1,"chatroomId":1,"chatmessage":"a\\ud83d\\ude00b","requestId":"12345678"}'


@st.composite
def mutilated(draw: st.DrawFn) -> bytes:
    """A good frame with some bytes cut out and others put in."""
    frame = FRAME
    for _ in range(draw(st.integers(1, 3))):
        start, length = draw(st.integers(0, len(frame))), draw(st.integers(0, 4))
        put_in = draw(st.sampled_from([b"", b"\\ud800", b'"', b"{", b"[", b"1e999", b"-", b"\xff", b"null", b"\\"]))
        frame = frame[:start] + put_in + frame[start + length :]
    return frame


@settings(deadline=None)  # the machine may be busy
@given(st.one_of(st.binary(max_size=200), mutilated(), st.binary(max_size=50).map(lambda some: FRAME[:40] + some)))
@example(b"1")
@example(b'{"type":1e400}')
@example(b'{"chatroomId":' + b"9" * 5000 + b"}")
def test_any_bytes_are_a_frame_or_a_bad_request(frame: bytes) -> None:
    try:
        assert isinstance(decode(frame), SendMessage | Resume | ReadMarker)
    except BadRequest as error:
        assert error.text
    request_id, room_id = salvage_ids(frame)
    frames.error_frame("bad_request", "what is wrong", request_id=request_id, room_id=room_id)


@pytest.mark.parametrize(
    ("frame", "echo"),
    [
        ('{"type":99,"requestId":"c","chatroomId":3}', ("c", 3)),
        ('{"requestId":"' + "x" * 65 + '","chatroomId":"3"}', (None, None)),
        ('{"requestId":7,"chatroomId":true}', (None, None)),
        ('{"requestId":"\\ud800","chatroomId":9223372036854775808}', (None, None)),
        ("[]", (None, None)),
        ("{", (None, None)),
        ("[" * 100_000, (None, None)),
    ],
)
def test_a_refused_frame_is_echoed_as_far_as_it_can_be_read(frame: str, echo: tuple[Any, Any]) -> None:
    assert salvage_ids(frame.encode()) == echo


# --- events -------------------------------------------------------------------------------------------

MESSAGE = Event(1, 7, 1, 5, "ann", "ann@example.com", "hi 😀", 3, None, "12345678", AT)
JOINED = Event(
    1,
    8,
    5,
    5,
    "ann",
    "ann@example.com",
    None,
    None,
    {"action": "joined", "room": {"id": 1, "name": "Tea", "kind": "public", "topic": ""}},
    None,
    AT,
)
LEFT = JOINED._replace(seq=9, data={"action": "left"})
CREATED = Event(
    4, 1, 6, 5, "ann", "ann@example.com", None, None, {"action": "created", "name": "Tea", "topic": ""}, "x", AT
)


@pytest.mark.parametrize(
    ("event", "frame"),
    [
        (
            MESSAGE,
            '{"type":1,"chatroomId":1,"chatmessage":"hi 😀","chatuser":"ann@example.com","userId":5,"username":"ann",'
            '"seq":7,"messageNo":3,"requestId":"12345678","createdAt":"2026-11-20T22:00:09.120000Z"}',
        ),
        (
            MESSAGE._replace(request_id=None, created_at=AT.replace(microsecond=0)),
            '{"type":1,"chatroomId":1,"chatmessage":"hi 😀","chatuser":"ann@example.com","userId":5,"username":"ann",'
            '"seq":7,"messageNo":3,"createdAt":"2026-11-20T22:00:09Z"}',
        ),
        (
            JOINED,
            '{"type":5,"chatroomId":1,"seq":8,"userId":5,"username":"ann","action":"joined",'
            '"createdAt":"2026-11-20T22:00:09.120000Z",'
            '"room":{"id":1,"name":"Tea","kind":"public","topic":""}}',
        ),
        (
            LEFT,
            '{"type":5,"chatroomId":1,"seq":9,"userId":5,"username":"ann","action":"left",'
            '"createdAt":"2026-11-20T22:00:09.120000Z"}',
        ),
        (
            CREATED,
            '{"type":6,"chatroomId":4,"seq":1,"action":"created","name":"Tea","topic":"",'
            '"createdAt":"2026-11-20T22:00:09.120000Z"}',
        ),
    ],
)
def test_an_event_has_these_bytes(event: Event, frame: str) -> None:
    assert event_frame(event).decode() == frame


def test_an_event_of_an_unknown_kind_has_none() -> None:
    with pytest.raises(ValueError, match="kind 99"):
        event_frame(MESSAGE._replace(kind=99))


def test_notifications_are_decoded_as_they_were_encoded() -> None:
    sent = [
        Notification(1, 7, FrameType.MESSAGE, event_frame(MESSAGE)),
        Notification(1, 8, FrameType.MEMBER, b"{}", (Subject(5, True), Subject(6, False))),
        Notification(1, None, FrameType.READ_MARKER, b"{}", (Subject(5, True),)),
    ]
    assert notifications.decode_notifications(notifications.encode_notifications(sent)) == sent


@pytest.mark.parametrize("body", [b"", b"\xc1", b"\x91\x93\x01\x02\x03", b"\x91\x95\xa1x\x01\x01\x01\xc4\x00"])
def test_notifications_of_another_kind_are_refused(body: bytes) -> None:
    with pytest.raises(msgspec.MsgspecError):
        notifications.decode_notifications(body)


def test_an_error_says_what_it_knows_and_is_from_the_server() -> None:
    assert json.loads(frames.error_frame("busy", "wait")) == {
        "type": 14,
        "code": "busy",
        "chatmessage": "wait",
        "chatuser": "server",
    }
    full = json.loads(frames.error_frame("busy", "wait", request_id="12345678", room_id=1, retry_ms=50))
    assert (full["requestId"], full["chatroomId"], full["retryMs"]) == ("12345678", 1, 50)


def test_a_resumed_frame_has_from() -> None:
    resumed = json.loads(codec.encode(frames.Resumed(1, 2, 3, True)))
    assert resumed == {"type": 11, "chatroomId": 1, "from": 2, "to": 3, "complete": True}


# --- texts and names ----------------------------------------------------------------------------------


@settings(deadline=None)
@given(ANY_TEXT)
@example("\ud800")
@example("\r\n")
@example("\x85")
def test_a_text_is_stored_clean_or_refused_with_a_reason(text: str) -> None:
    forbidden = [char for char in text if unicodedata.category(char) in ("Cc", "Cs") and char not in "\r\n"]
    bare = text.replace("\r\n", "\n").replace("\r", "\n").strip()
    try:
        clean = clean_text(text)
    except BadRequest as error:
        assert forbidden or not bare
        assert "chatmessage" in error.text
        if forbidden:
            assert f"U+{ord(forbidden[0]):04X}" in error.text
    else:
        assert not forbidden
        assert clean == bare == clean_text(clean)
        assert clean.encode().decode() == clean  # PostgreSQL takes it, and JSON
        assert decode(codec.encode({"type": 1, "chatroomId": 1, "chatmessage": clean})) == SendMessage(1, clean)


def test_a_text_has_4000_characters_at_most_after_trimming() -> None:
    assert clean_text("  " + "😀" * 4000 + "\n") == "😀" * 4000
    with pytest.raises(BadRequest, match="4001 characters; 1 to 4000"):
        clean_text("x" * 4001)
    with pytest.raises(BadRequest, match="0 characters"):
        clean_text(" \n\u2003")


@settings(deadline=None)
@given(ANY_TEXT, st.integers(0, 1))
def test_a_line_has_no_breaks(text: str, least: int) -> None:
    try:
        clean = clean_line(text, "name", least, 20)
    except BadRequest as error:
        assert error.text.startswith("name has ")
    else:
        assert least <= len(clean) <= 20
        assert clean == text.strip()
        assert not re.search("[\x00-\x1f\x7f-\x9f]", clean)


@pytest.mark.parametrize(
    "name", ["\u3164", "\u200b", "\u2060 \ufe0f", "\u00ad", "\u2800\u115f\u1160\uffa0", "\U000e0041", "\u0301"]
)
def test_an_invisible_name_is_refused(name: str) -> None:
    with pytest.raises(BadRequest, match="name has no visible character"):
        clean_line(name, "name", 1, 20)


@pytest.mark.parametrize("name", [".", "\u3164x", "👩‍💻", "नि", "한글", "\U0001fae8", "+", "№", "\ue000"])
def test_other_names_are_fine(name: str) -> None:
    assert clean_line(name, "name", 1, 20) == name


@pytest.mark.parametrize("request_id", ["1234567\n", "\x00" * 8, "1234567\x7f"])
def test_a_request_id_that_no_log_line_could_hold_is_refused(request_id: str) -> None:
    with pytest.raises(BadRequest, match="requestId"):
        text.check_request_id(request_id)


@pytest.mark.parametrize("request_id", [None, "12345678", "ключ-ключ", "with blank"])
def test_other_request_ids_are_fine(request_id: str | None) -> None:
    text.check_request_id(request_id)
