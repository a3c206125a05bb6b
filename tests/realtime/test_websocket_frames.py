"""chat/realtime/websocket_frames.py: finished frames, and the guard against frames that are not masked."""

import asyncio
import random
from functools import partial

import pytest

from chat.realtime.websocket_frames import MaskGuard, close_frame, text_frame
from tests.support.websocket_bytes import Opcode, client_frame


class RecordingProtocol(asyncio.Protocol):
    """The protocol behind the guard; it keeps what reaches it."""

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
def test_a_frame_has_the_length_of_its_payload(size: int) -> None:
    frame = text_frame(b"x" * size)
    head = len(frame) - size
    assert frame[0] == 0x81 and frame[head:] == b"x" * size
    length = frame[1]
    assert length == size if size < 126 else int.from_bytes(frame[2:head]) == size
    assert head == (2 if size < 126 else 4 if size < 65_536 else 10)


def test_a_close_frame_has_a_code_and_a_reason() -> None:
    assert close_frame(1012, "restart") == b"\x88\x09\x03\xf4restart"


@pytest.mark.parametrize("step", [1, 2, 3, 5, 7, 1_000, 10**6])
def test_masked_frames_pass_however_they_are_cut(step: int) -> None:
    data = b"".join(sent(b"y" * size) for size in (0, 5, 125, 126, 300, 65_535, 65_536, 0))
    behind = RecordingProtocol()
    refused: list[int] = []
    guard = MaskGuard(behind, lambda: refused.append(1))
    for at in range(0, len(data), step):
        guard.data_received(data[at : at + step])
    assert behind.data == data
    assert refused == []


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("step", [1, 3, 10**6])
def test_an_unmasked_frame_is_refused_once_and_nothing_after_it_passes(size: int, step: int) -> None:
    good, bad = sent(b"good" * 50), sent(b"\xff" * size, masked=False) + sent(b"later")
    behind = RecordingProtocol()
    refused: list[int] = []
    guard = MaskGuard(behind, lambda: refused.append(1))
    guard.data_received(good)
    for at in range(0, len(bad), step):
        guard.data_received(bad[at : at + step])
    assert refused == [1]
    assert behind.data in (good, good + bad[:1]), "the header's first byte alone says nothing"


def test_random_frames_in_random_pieces_are_refused_if_and_only_if_one_is_unmasked() -> None:
    """1,000 streams of up to eight frames, half of them with an unmasked one somewhere."""
    chance = random.Random(2)
    for _ in range(1_000):
        frames = [sent(chance.randbytes(chance.choice((0, 3, 125, 126, 200, 66_000)))) for _ in range(8)]
        bad = chance.random() < 0.5
        if bad:
            frames[chance.randrange(8)] = sent(chance.randbytes(chance.randrange(300)), masked=False)
        data, behind = b"".join(frames), RecordingProtocol()
        refused: list[int] = []
        guard = MaskGuard(behind, partial(refused.append, 1))
        while data:
            cut = chance.choice((1, 2, 9, 100, 70_000))
            guard.data_received(data[:cut])
            data = data[cut:]
        assert refused == [1] * bad
        assert bad or behind.data == b"".join(frames)


def test_all_other_calls_reach_the_protocol_behind() -> None:
    behind = RecordingProtocol()
    guard = MaskGuard(behind, lambda: None)
    guard.pause_writing()
    guard.resume_writing()
    assert guard.eof_received() is True
    guard.connection_lost(OSError("gone"))
    assert behind.calls == ["pause", "resume", "eof", "lost gone"]


def test_the_guard_notes_that_data_was_received() -> None:
    guard = MaskGuard(RecordingProtocol(), lambda: None)
    guard.received_data = False
    guard.data_received(sent(b"x"))
    assert guard.received_data
