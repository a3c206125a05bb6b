"""websocket_protocol.py: one websocket on a transport that a test controls."""

import asyncio

from chat.realtime import websocket_protocol as module
from chat.realtime.websocket_protocol import WebsocketProtocol
from tests.support.websocket_bytes import Opcode, client_frame, text_frame

LIMIT = 65_536
PINGS = client_frame(Opcode.PING, b"x" * 100) * 1_000


class RecordingTransport(asyncio.Transport):
    """Keeps what is written, and whether it is read."""

    def __init__(self) -> None:
        super().__init__()
        self.written = bytearray()
        self.reading = True
        self.closing = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += data

    def is_reading(self) -> bool:
        return self.reading

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def is_closing(self) -> bool:
        return self.closing

    def close(self) -> None:
        self.closing = True

    abort = close


class Endpoint(WebsocketProtocol):
    """Keeps the texts that it handles. ready: whether it may handle the next one"""

    def __init__(self) -> None:
        super().__init__(LIMIT)
        self.texts: list[bytes] = []
        self.ready = True

    def is_ready(self) -> bool:
        return self.ready

    def on_text(self, data: bytes) -> None:
        self.texts.append(data)


def connected() -> tuple[Endpoint, RecordingTransport]:
    endpoint, transport = Endpoint(), RecordingTransport()
    endpoint.connection_made(transport)
    return endpoint, transport


def pongs(transport: RecordingTransport) -> int:
    return bytes(transport.written).count(b"\x8a")


async def test_a_peer_that_sends_pings_and_does_not_read_is_not_read_until_it_does() -> None:
    endpoint, transport = connected()
    endpoint.pause_writing()
    endpoint.data_received(PINGS)
    assert pongs(transport) == 1 and not transport.is_reading()
    endpoint.read_on()  # somebody else's reason to go on
    assert pongs(transport) == 1 and not transport.is_reading()
    endpoint.resume_writing()
    assert pongs(transport) > 1
    while not transport.is_reading():
        await asyncio.sleep(0)
    assert pongs(transport) == 1_000


async def test_one_peer_has_only_its_share_of_a_turn_of_the_loop() -> None:
    endpoint, transport = connected()
    endpoint.data_received(PINGS)
    assert pongs(transport) == module.MAX_MESSAGES_A_TURN and not transport.is_reading()
    turns = 0
    while not transport.is_reading():
        await asyncio.sleep(0)
        turns += 1
    assert pongs(transport) == 1_000
    assert turns >= 1_000 // module.MAX_MESSAGES_A_TURN - 1


async def test_what_has_to_wait_is_handled_once_and_in_order() -> None:
    endpoint, transport = connected()
    endpoint.ready = False
    endpoint.data_received(text_frame(b"1") + text_frame(b"2"))
    assert endpoint.texts == [] and not transport.is_reading()
    endpoint.ready = True
    endpoint.read_on()
    assert endpoint.texts == [b"1", b"2"] and transport.is_reading()


async def test_after_the_end_nothing_half_read_is_kept() -> None:
    endpoint, transport = connected()
    endpoint.data_received(client_frame(Opcode.TEXT, b"x" * 60_000, fin=False) + text_frame(b"y")[:3])
    transport.closing = True
    endpoint.connection_lost(None)
    endpoint.read_on()
    assert endpoint.texts == []
