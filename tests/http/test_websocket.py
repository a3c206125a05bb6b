"""chat/http/websocket.py: what opens a websocket, and what a client may send before it is open."""

import asyncio
import json
from contextlib import AbstractAsyncContextManager
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.support.client import GENERAL, Chat, Person
from tests.support.names import unique
from tests.support.waiting import PATIENCE_S
from tests.support.websocket_bytes import (
    Opcode,
    RawWebsocket,
    client_frame,
    close_payload,
    text_frame,
    upgrade_request,
)


def port_of(chat: Chat) -> int:
    port = urlsplit(chat.base_url).port
    assert port is not None
    return port


async def answer(chat: Chat, request: bytes) -> tuple[int, dict[str, str], bytes]:
    """Send a request and return the status, the headers and the body of the answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port_of(chat))
    try:
        writer.write(request)
        async with asyncio.timeout(PATIENCE_S):
            start, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().strip().split("\r\n")
            headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
            body = await reader.readexactly(int(headers.get("content-length", "0")))
        return int(start.split()[1]), headers, body
    finally:
        writer.transport.abort()


def error_of(body: bytes) -> dict[str, Any]:
    error: dict[str, Any] = json.loads(body)["error"]
    assert error.keys() == {"code", "message"}
    return error


# --- the opening handshake ----------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH"])
async def test_only_get_opens_a_websocket(chat: Chat, alice: Person, method: str) -> None:
    status, headers, body = await answer(chat, upgrade_request(token=alice.token, method=method))
    assert (status, headers["allow"], error_of(body)["code"]) == (405, "GET", "method_not_allowed")


async def test_head_does_not_open_a_websocket(chat: Chat, alice: Person) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port_of(chat))
    writer.write(upgrade_request(token=alice.token, method="HEAD"))
    assert (await asyncio.wait_for(reader.readline(), PATIENCE_S)).split()[1] == b"405"
    writer.transport.abort()


async def test_http_1_0_does_not_open_a_websocket(chat: Chat, alice: Person) -> None:
    status, _, body = await answer(chat, upgrade_request(token=alice.token, http="1.0"))
    assert (status, error_of(body)["code"]) == (400, "bad_request")
    assert "HTTP/1.1" in error_of(body)["message"]


@pytest.mark.parametrize("version", [0, 7, 8, 12, 14, 255])
async def test_another_version_is_told_which_one_is_served(chat: Chat, alice: Person, version: int) -> None:
    status, headers, body = await answer(chat, upgrade_request(token=alice.token, version=version))
    assert (status, headers["sec-websocket-version"], headers["upgrade"]) == (426, "13", "websocket")
    assert headers["connection"].lower() == "upgrade"
    assert error_of(body)["code"] == "bad_request"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"Upgrade: websocket\r\n", b""),
        (b"Upgrade: websocket\r\n", b"Upgrade: h2c\r\n"),
        (b"Connection: Upgrade\r\n", b""),
        (b"Sec-WebSocket-Version: 13\r\n", b""),
        (b"Sec-WebSocket-Key: ", b"X-Key: "),
        (b"Sec-WebSocket-Key: ", b"Sec-WebSocket-Key: x"),
    ],
    ids=["no upgrade", "another upgrade", "no connection", "no version", "no key", "a bad key"],
)
async def test_a_handshake_that_lacks_something_is_400(chat: Chat, alice: Person, old: bytes, new: bytes) -> None:
    request = upgrade_request(token=alice.token)
    assert old in request
    status, _, body = await answer(chat, request.replace(old, new))
    assert (status, error_of(body)["code"]) == (400, "bad_request")
    assert "Sec-WebSocket-Key of 16 bytes" in error_of(body)["message"]


async def test_after_a_refusal_the_connection_serves_other_requests(chat: Chat, alice: Person) -> None:
    live = b"GET /health/live HTTP/1.1\r\nHost: h\r\n\r\n"
    reader, writer = await asyncio.open_connection("127.0.0.1", port_of(chat))
    writer.write(upgrade_request(token=alice.token, version=8) + live)
    statuses: list[bytes] = []
    async with asyncio.timeout(PATIENCE_S):
        while len(statuses) < 2:
            if (line := await reader.readline()).startswith(b"HTTP/1.1"):
                statuses.append(line.split()[1])
            elif b"HTTP/1.1" in line:  # a body has no line end: the next answer begins behind it
                statuses.append(line.split(b"HTTP/1.1")[1].split()[0])
    assert statuses == [b"426", b"200"]
    writer.transport.abort()


# --- frames in the segment of the request --------------------------------------------------------------


def message(text: str) -> bytes:
    return json.dumps({"type": 1, "chatroomId": GENERAL, "chatmessage": text, "requestId": text}).encode()


def upgraded(chat: Chat, person: Person, early: bytes = b"") -> AbstractAsyncContextManager[RawWebsocket]:
    """A websocket whose first bytes come in one segment with its request."""
    return RawWebsocket.connect(port_of(chat), upgrade_request(token=person.token) + early)


async def latest_texts(person: Person) -> set[str]:
    return {each["chatmessage"] for each in await person.gets(f"/v1/chat/rooms/{GENERAL}/messages")}


@pytest.mark.parametrize("cut", [1, 2, 10, None], ids=lambda cut: f"{cut or 'all'} bytes early")
async def test_an_unmasked_frame_beside_the_request_is_refused(chat: Chat, alice: Person, cut: int | None) -> None:
    text = unique("unmasked")
    frame = client_frame(Opcode.TEXT, message(text), masked=False)
    early, later = (frame, b"") if cut is None else (frame[:cut], frame[cut:])
    async with upgraded(chat, alice, early) as socket:
        await socket.send(later, text_frame(message(unique("masked"))))
        assert await socket.close_code() == 1002
    assert text not in await latest_texts(alice)


async def test_nothing_behind_an_unmasked_frame_beside_the_request_is_acted_on(chat: Chat, alice: Person) -> None:
    behind = unique("behind")
    frames = client_frame(Opcode.PING, masked=False) + text_frame(message(behind))
    async with upgraded(chat, alice, frames) as socket:
        assert await socket.close_code() == 1002
    assert behind not in await latest_texts(alice)


@pytest.mark.parametrize("cut", [1, 5, 30, None], ids=lambda cut: f"{cut or 'all'} bytes early")
async def test_a_masked_frame_beside_the_request_is_served(chat: Chat, alice: Person, cut: int | None) -> None:
    text = unique("masked")
    frame = client_frame(Opcode.TEXT, message(text), mask_key=b"\x37\xfa\x21\x3d")
    early, later = (frame, b"") if cut is None else (frame[:cut], frame[cut:])
    async with upgraded(chat, alice, early) as socket, asyncio.timeout(PATIENCE_S):
        await socket.send(later)
        while (heard := await socket.receive())[0] != Opcode.TEXT or json.loads(heard[1])["type"] != 13:
            pass
        assert json.loads(heard[1])["requestId"] == text
        await socket.send(client_frame(Opcode.TEXT, b"{}", masked=False))
        assert await socket.close_code() == 1002, "the guard has lost count of the frames"
    assert text in await latest_texts(alice)


async def test_many_masked_frames_beside_the_request_are_all_served(chat: Chat, alice: Person) -> None:
    count = 2_000  # more bytes than are read at once
    pings = [client_frame(Opcode.PING, b"%0125d" % number) for number in range(count)]
    async with upgraded(chat, alice, b"".join(pings)) as socket, asyncio.timeout(PATIENCE_S):
        heard = [await socket.receive() for _ in range(count + 1)]
    assert heard[0][0] == Opcode.TEXT, "the hello"
    assert heard[1:] == [(Opcode.PONG, b"%0125d" % number) for number in range(count)]


# --- close codes --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "code", [0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 6000, 32_768, 65_535]
)
async def test_a_close_code_that_must_not_be_sent_is_answered_with_1002(chat: Chat, alice: Person, code: int) -> None:
    async with upgraded(chat, alice) as socket:
        await socket.send(client_frame(Opcode.CLOSE, close_payload(code)))
        assert await socket.close_code() == 1002


@pytest.mark.parametrize("code", [1000, 1001, 1002, 1003, 1007, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999])
async def test_a_close_that_may_be_sent_is_answered_with_its_code(chat: Chat, alice: Person, code: int) -> None:
    async with upgraded(chat, alice) as socket:
        await socket.send(client_frame(Opcode.CLOSE, close_payload(code)))
        assert await socket.close_code() == code


async def test_a_close_without_a_code_is_answered_with_1000(chat: Chat, alice: Person) -> None:
    async with upgraded(chat, alice) as socket:
        await socket.send(client_frame(Opcode.CLOSE))
        assert await socket.close_code() == 1000
