"""websocket_frames.py: finished frames, and the reader of a client's."""

import random
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chat.realtime.websocket_frames import (
    FrameError,
    FrameReader,
    Message,
    Opcode,
    close_frame,
    pong_frame,
    text_frame,
)
from tests.support.websocket_bytes import client_frame, payload_ranges

SIZES = (0, 1, 125, 126, 127, 65_535, 65_536, 70_000)
LIMIT = 100_000


def read_all(reader: FrameReader) -> list[Message]:
    messages = []
    while (message := reader.read()) is not None:
        messages.append(message)
    return messages


def text(payload: bytes) -> Message:
    return Message(Opcode.TEXT, payload)


@pytest.mark.parametrize("size", SIZES)
def test_a_finished_frame_says_how_long_it_is(size: int) -> None:
    frame = text_frame(b"x" * size)
    assert frame[0] == 0x81
    assert [frame[begin:end] for begin, end in payload_ranges(frame)] == [b"x" * size]


def test_a_close_frame_has_its_code_and_a_reason() -> None:
    assert close_frame(1012, "restart") == b"\x88\x09\x03\xf4restart"


def test_a_reason_that_is_too_long_is_cut() -> None:
    assert len(close_frame(1012, "x" * 200)) == 2 + 125


def test_a_pong_has_the_payload_of_its_ping() -> None:
    assert pong_frame(b"hello") == b"\x8a\x05hello"


@pytest.mark.parametrize("step", [1, 2, 3, 5, 7, 1_000, 10**6])
def test_frames_are_read_however_they_are_cut(step: int) -> None:
    sizes = (0, 5, 125, 126, 300, 65_535, 65_536, 0)
    data = b"".join(client_frame(Opcode.TEXT, b"y" * size) for size in sizes)
    reader, messages = FrameReader(LIMIT), []
    for at in range(0, len(data), step):
        reader.feed(data[at : at + step])
        messages += read_all(reader)
    assert messages == [text(b"y" * size) for size in sizes]
    assert reader.buffered_bytes == 0


@given(st.binary(max_size=300), st.binary(min_size=4, max_size=4))
def test_a_payload_is_unmasked(payload: bytes, key: bytes) -> None:
    masked = bytes(byte ^ key[place % 4] for place, byte in enumerate(payload))
    head = client_frame(Opcode.TEXT, payload)[: -4 - len(payload)]
    reader = FrameReader(LIMIT)
    reader.feed(head + key + masked)
    assert reader.read() == text(payload)


def test_fragments_are_joined_and_control_frames_may_come_between() -> None:
    reader = FrameReader(LIMIT)
    reader.feed(
        client_frame(Opcode.TEXT, b"a", fin=False)
        + client_frame(Opcode.PING, b"?")
        + client_frame(Opcode.CONTINUATION, b"b", fin=False)
        + client_frame(Opcode.CONTINUATION, b"")
        + client_frame(Opcode.TEXT, b"c")
    )
    assert read_all(reader) == [Message(Opcode.PING, b"?"), text(b"ab"), text(b"c")]


def test_what_is_not_read_waits() -> None:
    reader = FrameReader(LIMIT)
    reader.feed(client_frame(Opcode.TEXT, b"1") + client_frame(Opcode.TEXT, b"2"))
    assert reader.read() == text(b"1")
    reader.feed(client_frame(Opcode.TEXT, b"3")[:3])
    reader.feed(client_frame(Opcode.TEXT, b"3")[3:])
    assert read_all(reader) == [text(b"2"), text(b"3")]


LARGE = client_frame(Opcode.TEXT, b"x" * 101)
VIOLATIONS = {
    "a text that is too large": (LARGE, 1009),
    "the header of one": (LARGE[:4], 1009),
    "fragments that are too large together": (
        client_frame(Opcode.TEXT, b"x" * 60, fin=False) + client_frame(Opcode.CONTINUATION, b"x" * 60),
        1009,
    ),
    "an unmasked frame": (client_frame(Opcode.TEXT, b"{}", masked=False), 1002),
    "an unmasked frame that is too large": (client_frame(Opcode.TEXT, b"x" * 101, masked=False), 1002),
    "a binary frame": (client_frame(Opcode.BINARY, b"x"), 1003),
    "a reserved bit": (client_frame(Opcode.TEXT, b"x", rsv=1), 1002),
    "an unknown opcode": (client_frame(5, b"x"), 1002),
    "a fragmented ping": (client_frame(Opcode.PING, b"x", fin=False), 1002),
    "a ping that is too long": (client_frame(Opcode.PING, b"x" * 126), 1002),
    "a continuation of nothing": (client_frame(Opcode.CONTINUATION, b"x"), 1002),
    "a text within a text": (client_frame(Opcode.TEXT, b"x", fin=False) + client_frame(Opcode.TEXT, b"y"), 1002),
    "a close of one byte": (client_frame(Opcode.CLOSE, b"\x03"), 1002),
    "a close whose reason is not UTF-8": (client_frame(Opcode.CLOSE, struct.pack("!H", 1000) + b"\xff"), 1007),
}


@pytest.mark.parametrize("name", VIOLATIONS)
def test_a_violation_has_its_close_code(name: str) -> None:
    data, code = VIOLATIONS[name]
    reader = FrameReader(100)
    reader.feed(data)
    with pytest.raises(FrameError) as raised:
        read_all(reader)
    assert raised.value.code == code


@pytest.mark.parametrize("code", [1000, 1001, 1003, 1007, 1011, 1012, 1014, 3000, 4001, 4999])
def test_a_close_code_that_may_be_sent_is_read(code: int) -> None:
    reader = FrameReader(100)
    reader.feed(client_frame(Opcode.CLOSE, struct.pack("!H", code)))
    assert reader.read() == Message(Opcode.CLOSE, struct.pack("!H", code))


@pytest.mark.parametrize("code", [0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535])
def test_a_close_code_that_must_not_be_sent_is_a_violation(code: int) -> None:
    reader = FrameReader(100)
    reader.feed(client_frame(Opcode.CLOSE, struct.pack("!H", code)))
    with pytest.raises(FrameError) as raised:
        reader.read()
    assert raised.value.code == 1002


def test_random_frames_in_random_pieces_are_read_up_to_the_first_unmasked_one() -> None:
    """1,000 streams of up to eight frames, half of them with an unmasked one somewhere."""
    chance = random.Random(2)
    for _ in range(1_000):
        payloads = [chance.randbytes(chance.choice((0, 3, 125, 126, 200, 66_000))) for _ in range(8)]
        good = chance.randrange(8) if chance.random() < 0.5 else 8
        data = b"".join(client_frame(Opcode.TEXT, each, masked=place < good) for place, each in enumerate(payloads))
        reader, messages = FrameReader(LIMIT), list[Message]()
        violated = False
        while data and not violated:
            cut = chance.choice((1, 2, 9, 100, 70_000))
            reader.feed(data[:cut])
            data = data[cut:]
            try:
                while (message := reader.read()) is not None:
                    messages.append(message)
            except FrameError:
                violated = True
        assert messages == [text(each) for each in payloads[:good]]
        assert violated == (good < 8)


def test_a_large_frame_that_comes_byte_by_byte_costs_no_more_than_its_bytes() -> None:
    """Its buffer grows in place: to join it anew for each byte would be 2 GB of copies."""
    reader = FrameReader(LIMIT)
    data = client_frame(Opcode.TEXT, b"z" * 65_536)
    buffers = set()
    for at in range(len(data)):
        reader.feed(data[at : at + 1])
        message = reader.read()
        buffers.add(reader.buffered_bytes)
        assert (message is None) == (at < len(data) - 1)
    assert len(buffers) == len(data)
