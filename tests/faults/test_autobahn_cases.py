"""The server against the cases of the Autobahn Testsuite. README.md has the table of the results."""

import asyncio
import contextlib
import itertools
import json
import re
import socket
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Self

import pytest

from tests.faults.autobahn_cases import CLOSE, PAUSE, QUIET, Case, Event, cases
from tests.faults.cluster import ServerPair
from tests.support.client import Chat, Person
from tests.support.waiting import PATIENCE_S
from tests.support.websocket_bytes import Opcode, RawWebsocket, client_frame, payload_ranges, upgrade_request

CASES = cases()
ERROR = 14
README = Path(__file__).parent / "README.md"


class CaseClient:
    """A client that writes what a case says, and keeps what comes until the connection ends.

    It reads while it writes, and from the socket itself: a server may hang up in the middle of what is written, and
    what it sent before has to be found.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._data = bytearray()
        self._parsed = 0
        self.events: list[Event] = []
        self.close_code: int | None = None
        self.closing = False

    @classmethod
    @contextlib.asynccontextmanager
    async def connect(cls, port: int, request: bytes) -> AsyncIterator[Self]:
        loop = asyncio.get_running_loop()
        with socket.socket() as sock:
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await loop.sock_connect(sock, ("127.0.0.1", port))
            await loop.sock_sendall(sock, request)
            client = cls(sock)
            await client._receive_until(lambda: b"\r\n\r\n" in client._data)
            assert client._data.startswith(b"HTTP/1.1 101"), client._data
            client._parsed = client._data.index(b"\r\n\r\n") + 4
            await client._receive_until(lambda: any(payload_ranges(client._data, client._parsed)))  # the hello
            yield client

    async def _receive_until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            data = await asyncio.get_running_loop().sock_recv(self._socket, 65_536)
            assert data, f"the server hung up after {bytes(self._data)!r}"
            self._data += data

    async def write(self, data: bytes) -> None:
        with contextlib.suppress(ConnectionError):
            await asyncio.get_running_loop().sock_sendall(self._socket, data)
        await asyncio.sleep(0)  # let the reader read

    async def read_to_end(self) -> None:
        """Take in what comes until the server hangs up. A close frame of the server is answered."""
        with contextlib.suppress(ConnectionError):
            self._take_in()
            while data := await asyncio.get_running_loop().sock_recv(self._socket, 65_536):
                self._data += data
                self._take_in()
                if self.closing:
                    await self.write(CLOSE)

    def _take_in(self) -> None:
        begin = self._parsed
        for start, end in payload_ranges(self._data, begin):
            self._take_in_frame(self._data[begin] & 15, bytes(self._data[start:end]))
            self._parsed = begin = end

    def _take_in_frame(self, opcode: int, payload: bytes) -> None:
        assert not self.closing, "nothing may follow a close frame"
        if opcode == Opcode.CLOSE:
            self.closing = True
            self.close_code = int.from_bytes(payload[:2]) if payload else None
        elif opcode == Opcode.PONG:
            self.events.append(("pong", payload))
        elif opcode == Opcode.TEXT and (frame := json.loads(payload))["type"] == ERROR:
            self.events.append(("text", frame.get("requestId", "").encode()))


async def run(case: Case, port: int, request: bytes, witness: RawWebsocket) -> CaseClient:
    """Run a case; return what came of it. The witness is another connection to the same server."""
    async with asyncio.timeout(PATIENCE_S), CaseClient.connect(port, request) as client:
        reading = asyncio.create_task(client.read_to_end())
        for data in case.writes:
            if data == PAUSE:
                await _pass(witness)
                if not client.closing:
                    client.events.append(QUIET)
            else:
                await client.write(data)
        await reading
    return client


async def _pass(witness: RawWebsocket) -> None:
    """Return when the server has handled all that was written before: it answers another connection twice."""
    for _ in range(2):
        await witness.send(client_frame(Opcode.PING, b"witness"))
        while await witness.receive() != (Opcode.PONG, b"witness"):
            pass
    await asyncio.sleep(0)


def result(case: Case, client: CaseClient) -> str:
    """Return the suite's word for what came of a case."""
    if client.close_code not in case.close_codes:
        return f"failed: closed with {client.close_code}"
    events = tuple(client.events)
    if events == case.events:
        return "informational" if case.informational else "ok"
    return "non-strict" if events == case.non_strict else f"failed: {events}"


def documented() -> dict[str, str]:
    """The result of each case according to README.md."""
    found: dict[str, str] = {}
    for numbers, word in re.findall(r"^\| ([0-9., to]+) \| [^|]+ \| (ok|non-strict|informational) \|", _readme(), re.M):
        for each in numbers.split(", "):
            first, _, last = each.partition(" to ")
            section, _, at = first.rpartition(".")
            for number in range(int(at), int(last.rpartition(".")[2] or at) + 1):
                assert f"{section}.{number}" not in found, f"{section}.{number} is in two rows"
                found[f"{section}.{number}"] = word
    return found


def _readme() -> str:
    return README.read_text(encoding="utf-8")


def test_the_table_has_every_case() -> None:
    assert sorted(documented()) == sorted(CASES)


def test_no_two_cases_of_a_section_are_the_same() -> None:
    for (one, case), (other, another) in itertools.combinations(CASES.items(), 2):
        if one.rpartition(".")[0] == other.rpartition(".")[0]:
            assert case != another, f"{one} and {other}"


@pytest.fixture(scope="module")
async def alice(servers: ServerPair) -> AsyncIterator[Person]:
    async with Chat(servers[0].url) as chat:
        yield await chat.sign_up("alice")


@pytest.fixture
async def witness(servers: ServerPair, alice: Person) -> AsyncIterator[RawWebsocket]:
    async with RawWebsocket.connect(servers[0].port, upgrade_request(token=alice.token)) as socket:
        yield socket


@pytest.mark.parametrize("number", CASES)
async def test_a_case_has_the_result_of_the_table(
    servers: ServerPair, alice: Person, witness: RawWebsocket, number: str
) -> None:
    client = await run(CASES[number], servers[0].port, upgrade_request(token=alice.token), witness)
    assert result(CASES[number], client) == documented()[number]
