"""The load: raw websockets on one epoll. Bytes are counted, not parsed, so that the load costs less than the server.

All sockets of a room get the same bytes. So one of them, the *witness*, is kept and parsed to the last frame after
the run, and every other one must have got exactly as many bytes. If one did not, the run raises `InvalidRun`.
"""

import json
import select
import socket
import struct
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import cycle, islice, pairwise
from typing import Any

from tests.support.websocket_bytes import payload_ranges, text_frame

AT_ONCE = 100  # handshakes under way
SETUP_S = 30.0
SPACE = 1 << 20
SEND_BUFFER = 1 << 20
PING, PONG = b"\x89\x00", b"\x8a\x80\x00\x00\x00\x00"

now = time.perf_counter


class InvalidRun(Exception):
    """The run does not count: something was lost, refused or cut."""


class Overloaded(InvalidRun):
    """The server does not read fast enough what is sent."""


def frame(**fields: Any) -> bytes:
    """A client's frame with these fields."""
    return text_frame(fields)


def parsed(data: bytes | bytearray) -> list[dict[str, Any]]:
    """The server's frames, decoded."""
    return [json.loads(data[begin:end]) for begin, end in payload_ranges(data)]


class LoadClient:
    """One websocket. If `take(at, chunk)` is set, it gets the received bytes; otherwise they are only counted."""

    __slots__ = ("fd", "got", "sock", "take")

    def __init__(self, sock: socket.socket) -> None:
        self.sock, self.fd = sock, sock.fileno()
        self.got = 0
        self.take: Callable[[float, memoryview], None] | None = None

    def write(self, data: bytes) -> None:
        try:
            sent = self.sock.send(data)
        except BlockingIOError:
            sent = 0
        except ConnectionError as error:
            raise InvalidRun(f"the server closed a socket ({error})") from None
        if sent < len(data):
            raise Overloaded("the server does not read what is sent")


class LoadClients:
    """Many connections, most of them websockets.

    ports: the server's; connections take them in turn.
    pings: whether pings are answered. If not, they count as unexpected bytes.
    """

    def __init__(self, *ports: int, pings: bool = False) -> None:
        self._ports, self._pings = cycle(ports), pings
        self._epoll = select.epoll()
        self._clients: dict[int, LoadClient] = {}
        self._space = bytearray(SPACE)
        self._view = memoryview(self._space)
        self.pinged = 0

    def __enter__(self) -> "LoadClients":
        return self

    def __exit__(self, *_: object) -> None:
        for client in self._clients.values():
            # A reset leaves no port behind in TIME_WAIT: there are fewer ports than sockets in a whole benchmark.
            client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.sock.close()
        self._epoll.close()

    def plain(self) -> LoadClient:
        """A connection without a request yet, which is not a websocket."""
        sock = socket.create_connection(("127.0.0.1", next(self._ports)))
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client = LoadClient(sock)
        self._clients[client.fd] = client
        self._epoll.register(client.fd, select.EPOLLIN)
        return client

    def close(self, client: LoadClient) -> None:
        """Close one connection."""
        self._epoll.unregister(client.fd)
        del self._clients[client.fd]
        client.sock.close()

    # --- before the run: parsed, not measured ---------------------------------------------------------

    def open(self, requests: Iterable[bytes], *, hello: bool = True) -> list[LoadClient]:
        """Connect. Each returned client has got its 101, and its first frame if `hello` is set."""
        opened: list[LoadClient] = []
        waiting: dict[int, tuple[LoadClient, bytes, bytearray]] = {}
        todo = iter(requests)
        deadline = now() + SETUP_S * 4
        while True:
            for request in islice(todo, AT_ONCE - len(waiting)):
                sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
                sock.setblocking(False)
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                sock.connect_ex(("127.0.0.1", next(self._ports)))
                client = LoadClient(sock)
                opened.append(client)
                self._clients[client.fd] = client
                waiting[client.fd] = (client, request, bytearray())
                self._epoll.register(client.fd, select.EPOLLOUT)
            if not waiting:
                return opened
            if now() > deadline:
                raise InvalidRun(f"{len(waiting)} handshakes did not end")
            for fd, event in self._epoll.poll(1.0):
                if fd not in waiting:
                    self._read(fd)
                    continue
                client, request, heard = waiting[fd]
                if event & select.EPOLLOUT:
                    client.write(request)
                    self._epoll.modify(fd, select.EPOLLIN)
                    continue
                heard += client.sock.recv(65_536)
                head, end, rest = bytes(heard).partition(b"\r\n\r\n")
                if end and not head.startswith(b"HTTP/1.1 101"):
                    raise InvalidRun(f"refused: {heard[:300]!r}")
                if not heard or (event & select.EPOLLHUP):
                    raise InvalidRun("the server hung up in a handshake")
                if end and (not hello or any(payload_ranges(rest))):
                    del waiting[fd]

    def ask(self, questions: Sequence[tuple[LoadClient, bytes]], answers: int = 1) -> None:
        """Send the frames of each client, and wait until each has got `answers` whole frames."""

        def is_whole(heard: bytearray) -> bool:
            if sum(1 for _ in payload_ranges(heard)) < answers:
                return False
            if errors := [each for each in parsed(heard) if each.get("type") == 14]:
                raise InvalidRun(f"refused: {errors[0]}")
            return True

        self.exchange(questions, is_whole)

    def exchange(self, questions: Iterable[tuple[LoadClient, bytes]], is_whole: Callable[[bytearray], bool]) -> None:
        """Send the bytes of each client, and wait until what each has got is a whole answer."""
        todo = iter(questions)
        waiting: dict[int, bytearray] = {}
        deadline = now() + SETUP_S * 4

        def take(fd: int) -> Callable[[float, memoryview], None]:
            def taken(_: float, chunk: memoryview) -> None:
                waiting[fd] += chunk
                if is_whole(waiting[fd]):
                    del waiting[fd]
                    self._clients[fd].take = None

            return taken

        while True:
            for client, data in islice(todo, AT_ONCE - len(waiting)):
                waiting[client.fd] = bytearray()
                client.take = take(client.fd)
                client.write(data)
            if not waiting:
                return
            if now() > deadline:
                raise InvalidRun(f"{len(waiting)} sockets got no answer")
            self.pull(1.0)

    # --- the run --------------------------------------------------------------------------------------

    def pull(self, timeout_s: float) -> int:
        """Read once what has arrived. Return how many clients had something to read."""
        events = self._epoll.poll(timeout_s, 16_384)
        for fd, _ in events:
            self._read(fd)
        return len(events)

    def _read(self, fd: int) -> None:
        client = self._clients[fd]
        try:
            size = client.sock.recv_into(self._space)
        except BlockingIOError:
            return
        except OSError as error:
            raise InvalidRun(f"the server cut a socket ({error})") from None
        if not size:
            raise InvalidRun("the server closed a socket")
        if self._pings and size == 2 and self._view[:2] == PING:
            self.pinged += 1
            return client.write(PONG)
        client.got += size
        if client.take is not None:
            client.take(now(), self._view[:size])

    def quiet(self, seconds: float) -> None:
        """Read, and answer pings, for some seconds."""
        end = now() + seconds
        while (left := end - now()) > 0:
            self.pull(left)


class Witness:
    """Keeps all bytes that a client receives, and when they came."""

    def __init__(self, client: LoadClient) -> None:
        self.client = client
        self.data = bytearray()
        self.marks: list[tuple[float, int]] = []
        self.count = 0  # whole frames so far
        self._from = 0
        client.take = self._take
        client.got = 0

    def _take(self, at: float, chunk: memoryview) -> None:
        self.data += chunk
        self.marks.append((at, len(self.data)))
        for _, end in payload_ranges(self.data, self._from):
            self._from = end
            self.count += 1

    def frames(self) -> list[dict[str, Any]]:
        """What came, decoded."""
        return parsed(self.data)

    def ends(self) -> list[int]:
        """Where each frame ends in the stream: the same for every socket of the room."""
        return [end for _, end in payload_ranges(self.data)]


class Marks:
    """Records how many bytes a client had received at which moment."""

    def __init__(self, client: LoadClient) -> None:
        self.marks: list[tuple[float, int]] = []
        client.take = self._take
        client.got = 0
        self._wire = client

    def _take(self, at: float, chunk: memoryview) -> None:
        self.marks.append((at, self._wire.got))


def delays(marks: list[tuple[float, int]], ends: list[int], due: Sequence[float]) -> Iterator[float]:
    """For each frame of a stream: seconds from when it was due to when its last byte was there."""
    number = 0
    for at, got in marks:
        while number < len(ends) and ends[number] <= got:
            yield at - due[number]
            number += 1


class Author:
    """A client of chat.v2 that writes. It resumes no room, so it gets only its acks, kept with their times."""

    def __init__(self, client: LoadClient, room_id: int, name: str) -> None:
        self.client, self.room_id, self._name = client, room_id, name
        self.reset(0)

    def reset(self, run: int) -> None:
        """Begin a new run, with new requestIds."""
        self.run = run
        self._acks = Witness(self.client)
        self.due: list[float] = []

    @property
    def said(self) -> int:
        return len(self.due)

    @property
    def acked(self) -> int:
        return self._acks.count

    def say(self, due: Sequence[float]) -> None:
        """Send one message for each moment at which one was due."""
        first = self.said
        self.due += due
        self.client.write(b"".join(self.message(first + each) for each in range(len(due))))

    def message(self, number: int) -> bytes:
        """100 bytes of text, a requestId of 24 characters."""
        text = f"message {number:010} ".ljust(100, ".")
        request_id = f"{self._name:>10.10}-{self.run:04}-{number:08}".replace(" ", "0")
        return text_frame(
            b'{"type":1,"chatroomId":%d,"chatmessage":"%b","requestId":"%b"}'
            % (self.room_id, text.encode(), request_id.encode())
        )

    def check(self) -> None:
        """Check that every message has its ack, in order, as a new message. Raises `InvalidRun`."""
        acks = self._acks.frames()
        if len(acks) != self.said:
            raise InvalidRun(f"{len(acks)} of {self.said} acks")
        for number, ack in enumerate(acks):
            if ack["type"] != 13 or not ack["requestId"].endswith(f"-{number:08}") or ack["duplicate"]:
                raise InvalidRun(f"not the ack of message {number}: {ack}")

    def ack_delays(self) -> Iterator[float]:
        """Seconds from when each message was due to its ack."""
        return delays(self._acks.marks, self._acks.ends(), self.due)


def check_room(witness: Witness, load: Sequence[LoadClient], said: int) -> None:
    """Check that the witness got each of the `said` messages once, without a hole, and the others as many bytes."""
    frames = witness.frames()
    if len(frames) != said:
        raise InvalidRun(f"{len(frames)} of {said} messages were delivered")
    for each, following in pairwise(frames):
        if following["seq"] != each["seq"] + 1:
            raise InvalidRun(f"{following['seq']} came after {each['seq']}")
    if len({each["chatmessage"] + each["requestId"] for each in frames}) != said:
        raise InvalidRun("a message was delivered twice")
    short = [client for client in load if client.got != len(witness.data)]
    if short:
        raise InvalidRun(f"{len(short)} of {len(load)} sockets got other bytes than the one that was parsed")
