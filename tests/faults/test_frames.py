"""Bad frames: the right close code or the right answer, the process unharmed, the others served.

FRAMES says how many are generated; `make test-faults` takes 100,000.
"""

import asyncio
import json
import os
import random
import struct
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager

import pytest

from tests.faults.cluster import ServerPair, ServerProcess
from tests.support.client import GENERAL, Chat, Person
from tests.support.names import unique
from tests.support.websocket_bytes import Opcode, RawWebsocket, text_frame, upgrade_request
from tests.support.websocket_bytes import client_frame as frame

FRAMES = int(os.environ.get("FRAMES", "3000"))
pytestmark = pytest.mark.timeout(60 + FRAMES / 100)

PROTOCOL_ERROR = 1002
CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = Opcode


def raw(server: ServerProcess, person: Person) -> AbstractAsyncContextManager[RawWebsocket]:
    return RawWebsocket.connect(server.port, upgrade_request(token=person.token))


@pytest.fixture(scope="module")
async def alice(servers: ServerPair) -> AsyncIterator[Person]:
    async with Chat(servers[0].url) as chat:
        yield await chat.sign_up("alice")


async def is_served(person: Person) -> None:
    """Another user can still send and receive."""
    client = await person.connects()
    await client.resume(GENERAL, after=10**9)
    text = unique("fine")
    await client.says(text, requestId=text)
    await client.hears(text)
    await client.close()


MESSAGE = json.dumps({"type": 1, "chatroomId": 1, "chatmessage": "hé", "requestId": "12345678"}, ensure_ascii=False)
HALF = MESSAGE.encode().index("é".encode()) + 1  # in the middle of a character

CLOSED = {
    "a frame too large": ([frame(TEXT, b" " * 70_000)], 1009),
    "a frame that says it is huge": ([bytes((0x81, 0xFF)) + b"\x7f" + b"\xff" * 7 + bytes(4)], 1009),
    "fragments without end": (
        [
            frame(TEXT, b" " * 1000, fin=False),
            *[frame(CONTINUATION, b" " * 1000, fin=False)] * 70,
        ],
        1009,
    ),
    "a binary frame": ([frame(BINARY, b"x")], 1003),
    "bad UTF-8": ([frame(TEXT, b'{"type":1,"x":"\xff"}')], 1007),
    "bad UTF-8, split": (
        [frame(TEXT, b'{"x":"\xc3', fin=False), frame(CONTINUATION, b'("}')],
        1007,
    ),
    "bad UTF-8, a surrogate": ([frame(TEXT, b'"\xed\xa0\x80"')], 1007),
    "the first reserved bit": ([frame(TEXT, b"{}", rsv=4)], PROTOCOL_ERROR),
    "the second reserved bit": ([frame(TEXT, b"{}", rsv=2)], PROTOCOL_ERROR),
    "the third reserved bit": ([frame(TEXT, b"{}", rsv=1)], PROTOCOL_ERROR),
    "an unknown opcode": ([frame(3, b"")], PROTOCOL_ERROR),
    "an unknown control opcode": ([frame(11, b"")], PROTOCOL_ERROR),
    "a control frame too long": ([frame(PING, b"x" * 126)], PROTOCOL_ERROR),
    "a control frame in fragments": ([frame(PING, b"x", fin=False)], PROTOCOL_ERROR),
    "an unmasked text": ([frame(TEXT, MESSAGE.encode(), masked=False)], PROTOCOL_ERROR),
    "an unmasked text after a good one": (
        [text_frame(b"{}"), frame(TEXT, b"{}", masked=False)],
        PROTOCOL_ERROR,
    ),
    "an unmasked text in two pieces": ([frame(TEXT, b"{}", masked=False)[:1], b"\x02{}"], PROTOCOL_ERROR),
    "an unmasked ping": ([frame(PING, b"x", masked=False)], PROTOCOL_ERROR),
    "an unmasked fragment": (
        [frame(TEXT, b"{", fin=False), frame(CONTINUATION, b"}", masked=False)],
        PROTOCOL_ERROR,
    ),
    "an unmasked frame too large": ([frame(TEXT, b" " * 70_000, masked=False)], PROTOCOL_ERROR),
    "a continuation of nothing": ([frame(CONTINUATION, b"x")], PROTOCOL_ERROR),
    "a text within a text": (
        [frame(TEXT, b"x", fin=False), frame(TEXT, b"y")],
        PROTOCOL_ERROR,
    ),
    "a close of one byte": ([frame(CLOSE, b"\x03")], PROTOCOL_ERROR),
    "a close with an invalid code": ([frame(CLOSE, struct.pack("!H", 999))], PROTOCOL_ERROR),
    "a close with bad UTF-8": ([frame(CLOSE, struct.pack("!H", 1000) + b"\xff")], 1007),
}


@pytest.mark.parametrize("name", CLOSED)
async def test_a_bad_frame_ends_the_socket_with_its_code(servers: ServerPair, alice: Person, name: str) -> None:
    frames, code = CLOSED[name]
    async with raw(servers[0], alice) as socket:
        await socket.send(*frames)
        assert await socket.close_code() == code
    await is_served(alice)


ANSWERED = {
    "deep JSON": b'{"type":1,"x":' + b"[" * 30_000 + b"]" * 30_000 + b"}",
    "a huge number": b'{"type":1,"chatmessage":"x","chatroomId":' + b"9" * 60_000 + b"}",
    "a huge exponent": b'{"type":1,"chatmessage":"x","chatroomId":1e999999}',
    "a huge type": b'{"type":99999999999999999999999}',
    "the same key twice": b'{"type":1,"type":99,"chatroomId":1,"chatmessage":"x"}',
    "a byte order mark": b'\xef\xbb\xbf{"type":1}',
    "nothing": b"",
}


@pytest.mark.parametrize("name", ANSWERED)
async def test_bad_json_is_answered_and_the_socket_stays(servers: ServerPair, alice: Person, name: str) -> None:
    async with raw(servers[0], alice) as socket:
        await socket.send(text_frame(ANSWERED[name]), frame(PING, b"still open"))
        assert await socket.error() == "bad_request"
        assert await socket.receive() == (PONG, b"still open")


async def test_a_character_may_be_split_and_control_frames_may_come_between(servers: ServerPair, alice: Person) -> None:
    text = MESSAGE.replace("12345678", unique("split")).encode()
    async with raw(servers[0], alice) as socket:
        await socket.send(
            frame(TEXT, text[:HALF], fin=False),
            frame(PING, b"between"),
            frame(CONTINUATION, b"", fin=False),
            frame(CONTINUATION, text[HALF:]),
        )
        heard = [await socket.receive() for _ in range(3)]
    assert (PONG, b"between") in heard
    assert any(opcode == TEXT and json.loads(payload)["type"] == 13 for opcode, payload in heard)


async def test_zero_length_continuations_without_end_take_no_memory(servers: ServerPair, alice: Person) -> None:
    server = servers[0]
    before = server.memory_mb()
    async with raw(server, alice) as socket:
        await socket.send(frame(TEXT, b"{", fin=False))
        for _ in range(200):
            await socket.send(frame(CONTINUATION, fin=False) * 1000)
        await is_served(alice)
    assert server.memory_mb() - before < 20


async def test_a_flood_of_pings_is_answered_and_delays_no_other(servers: ServerPair, alice: Person) -> None:
    server = servers[0]
    before = server.memory_mb()
    async with raw(server, alice) as reading, raw(server, alice) as silent:
        flood = asyncio.create_task(silent.send(*[frame(PING, b"x" * 125) * 100] * 1000))
        await is_served(alice)
        for _ in range(50):
            await reading.send(frame(PING, b"x") * 100)
        assert (await reading.receive())[0] == TEXT  # the hello
        for _ in range(5000):
            assert await reading.receive() == (PONG, b"x")
        await is_served(alice)
        flood.cancel()
        await asyncio.gather(flood, return_exceptions=True)
    assert server.memory_mb() - before < 20


@pytest.mark.parametrize(
    "after",
    [
        text_frame(b"{}"),
        frame(CLOSE),
        frame(PING),
        b"\xff" * 100,
        b"",
        frame(CLOSE)[:1],
    ],
    ids=["text", "close", "ping", "garbage", "nothing", "half a frame"],
)
async def test_whatever_follows_a_close_is_harmless(servers: ServerPair, alice: Person, after: bytes) -> None:
    async with raw(servers[0], alice) as socket:
        await socket.send(frame(CLOSE, struct.pack("!H", 1000)) + after)
        assert await socket.close_code() in (1000, None)
    await is_served(alice)


def generated(chance: random.Random) -> bytes:
    """One frame, good or bad in one of many ways."""
    bodies = [b"{}", b'{"type":1}', MESSAGE.encode(), b'{"type":11,"chatroomId":1,"after":0}', b"[[[[", b'"\xff"', b""]
    body = bytearray(chance.choice(bodies))
    for _ in range(chance.choice((0, 0, 0, 1, 3))):
        if body:
            body[chance.randrange(len(body))] = chance.randrange(256)
    if chance.random() < 0.02:
        body *= chance.randrange(1, 3000)
    # Mostly what does not end the socket: else most frames would only meet a closed one.
    opcode = chance.choice((TEXT,) * 200 + (PING, PONG) * 20 + (CONTINUATION, BINARY, CLOSE, 3, 15))
    fin, masked = chance.random() < 0.99, chance.random() < 0.99
    rsv = 0 if chance.random() < 0.99 else chance.randrange(8)
    made = frame(opcode, bytes(body), fin=fin, rsv=rsv, masked=masked)
    return made if chance.random() < 0.995 else made[: chance.randrange(len(made) + 1)]


async def test_generated_frames_do_no_harm(servers: ServerPair, alice: Person) -> None:
    server = servers[0]
    seed = random.randrange(10**9)
    print(f"seed {seed}, {FRAMES} frames")
    chance = random.Random(seed)
    before, start = server.memory_mb(), len(server.log.read_text())
    sent = 0
    while sent < FRAMES:
        async with raw(server, alice) as socket:
            closing = asyncio.create_task(socket.close_code())
            while not closing.done() and sent < FRAMES:
                await socket.send(generated(chance))
                sent += 1
                if sent % 5 == 0:
                    await asyncio.sleep(0)
                if sent % 1000 == 0:
                    await is_served(alice)
            closing.cancel()
            await asyncio.gather(closing, return_exceptions=True)
    await is_served(alice)
    assert server.memory_mb() - before < 50
    log = server.log.read_text()[start:]
    assert "Traceback" not in log, log[log.index("Traceback") - 200 :][:3000]
