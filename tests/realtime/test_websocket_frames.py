"""frames.py: finished frames, and the watch for those that are not masked."""

import asyncio
import random
from functools import partial

import pytest

from chat.realtime.websocket_frames import MaskGuard, close_frame, may_be_sent, text_frame
from tests.support.websocket_bytes import Opcode, client_frame


class Taken(asyncio.Protocol):
    """The protocol behind: what reached it."""

    def __init__(self) -> None:
        self.data = b""
        self.calls: list[str] = []

    def data_received(self, data: bytes) -> None:
        self.data += data

    def eof_received(self) -> bool:
        self.calls.append("eof")
        return True

    def connection_lost(self, error: Exception | None) -> None:
        self.calls.append(f"lost {error}")

    def pause_writing(self) -> None:
        self.calls.append("pause")

    def resume_writing(self) -> None:
        self.calls.append("resume")


def sent(payload: bytes, *, masked: bool = True) -> bytes:
    return client_frame(Opcode.TEXT, payload, masked=masked)


SIZES = (0, 1, 125, 126, 127, 65_535, 65_536, 70_000)


@pytest.mark.parametrize("size", SIZES)
def test_a_frame_says_how_long_it_is(size: int) -> None:
    frame = text_frame(b"x" * size)
    head = len(frame) - size
    assert frame[0] == 0x81 and frame[head:] == b"x" * size
    told = frame[1]
    assert told == size if size < 126 else int.from_bytes(frame[2:head]) == size
    assert head == (2 if size < 126 else 4 if size < 65_536 else 10)


def test_a_goodbye_has_its_code_and_a_reason() -> None:
    assert close_frame(1012, "restart") == b"\x88\x09\x03\xf4restart"


def test_a_close_code_may_be_sent_if_it_is_registered_or_free_for_use() -> None:
    codes = [code for code in range(65_536) if may_be_sent(code)]
    assert codes == [*range(1000, 1004), *range(1007, 1015), *range(3000, 5000)]


@pytest.mark.parametrize("step", [1, 2, 3, 5, 7, 1_000, 10**6])
def test_masked_frames_pass_however_they_are_cut(step: int) -> None:
    data = b"".join(sent(b"y" * size) for size in (0, 5, 125, 126, 300, 65_535, 65_536, 0))
    behind = Taken()
    refused: list[int] = []
    watch = MaskGuard(behind)
    watch.call_on_violation(lambda: refused.append(1))
    for at in range(0, len(data), step):
        watch.data_received(data[at : at + step])
    assert behind.data == data
    assert refused == []


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("step", [1, 3, 10**6])
def test_an_unmasked_frame_is_refused_once_and_nothing_after_it_passes(size: int, step: int) -> None:
    good, bad = sent(b"good" * 50), sent(b"\xff" * size, masked=False) + sent(b"later")
    behind = Taken()
    refused: list[int] = []
    watch = MaskGuard(behind)
    watch.call_on_violation(lambda: refused.append(1))
    watch.data_received(good)
    for at in range(0, len(bad), step):
        watch.data_received(bad[at : at + step])
    assert refused == [1]
    assert behind.data in (good, good + bad[:1]), "the header's first byte alone says nothing"


def test_a_violation_is_told_also_to_a_callback_that_comes_after_it() -> None:
    behind = Taken()
    refused: list[int] = []
    watch = MaskGuard(behind)
    watch.data_received(sent(b"early", masked=False))
    watch.data_received(sent(b"later"))
    watch.call_on_violation(lambda: refused.append(1))
    assert refused == [1]
    assert behind.data == b""


def test_random_frames_in_random_pieces_are_refused_if_and_only_if_one_is_unmasked() -> None:
    """1,000 streams of up to eight frames, half of them with an unmasked one somewhere."""
    chance = random.Random(2)
    for _ in range(1_000):
        frames = [sent(chance.randbytes(chance.choice((0, 3, 125, 126, 200, 66_000)))) for _ in range(8)]
        bad = chance.random() < 0.5
        if bad:
            frames[chance.randrange(8)] = sent(chance.randbytes(chance.randrange(300)), masked=False)
        data, behind = b"".join(frames), Taken()
        refused: list[int] = []
        watch = MaskGuard(behind)
        watch.call_on_violation(partial(refused.append, 1))
        while data:
            cut = chance.choice((1, 2, 9, 100, 70_000))
            watch.data_received(data[:cut])
            data = data[cut:]
        assert refused == [1] * bad
        assert bad or behind.data == b"".join(frames)


def test_everything_else_reaches_the_protocol_behind() -> None:
    behind = Taken()
    watch = MaskGuard(behind)
    watch.pause_writing()
    watch.resume_writing()
    assert watch.eof_received() is True
    watch.connection_lost(OSError("gone"))
    assert behind.calls == ["pause", "resume", "eof", "lost gone"]


def test_it_says_whether_anything_was_heard() -> None:
    watch = MaskGuard(Taken())
    watch.received_data = False
    watch.data_received(sent(b"x"))
    assert watch.received_data
