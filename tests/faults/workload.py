"""The clients of a fault run: writers that repeat writes of unknown outcome, and observers that resume.

membership_workload.py has the clients that join and leave.
"""

import asyncio
import contextlib
import itertools
import random
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

import aiohttp

from tests.faults.checker import View, Write
from tests.faults.cluster import ServerProcess

IN_FLIGHT = 32  # writes of one writer without an answer
PATIENCE_S = 12.0  # a server that lives has answered by then
PING_INTERVAL_S = 2.0
GIVES_UP = 0.2  # how many writes that certainly failed are left at that
ON_PURPOSE = 0.05  # how many acked writes are sent again

TROUBLE = (aiohttp.ClientError, OSError, TimeoutError)


class Client(ABC):
    """A client with an account. It changes to the other server after each failure.

    beats: the moments at which it got an ack or an event.
    """

    def __init__(self, http: aiohttp.ClientSession, servers: Sequence[ServerProcess], home: int, seed: int) -> None:
        self.http, self.servers, self.at = http, servers, home
        self.random = random.Random(seed)
        self.beats: list[float] = []
        self.token = ""
        self.name = ""
        self.odd: list[str] = []  # what should not have happened

    @property
    def url(self) -> str:
        return self.servers[self.at].url

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"}

    async def sign_up(self, name: str) -> None:
        self.name = name
        body = {"username": name, "email": f"{name}@example.com", "password": "correct horse"}
        async with self.http.post(f"{self.url}/v1/auth/signup", json=body) as response:
            response.raise_for_status()
            self.token = (await response.json())["token"]

    def connect(self, *, v2: bool = True) -> Any:
        if v2:
            protocols = ["chat.v2", f"bearer.{self.token}"]
            return self.http.ws_connect(f"{self.url}/v1/ws", protocols=protocols, heartbeat=PING_INTERVAL_S)
        return self.http.ws_connect(f"{self.url}/v1/ws?token={self.token}", heartbeat=PING_INTERVAL_S)

    async def run(self) -> None:
        """Work until cancelled."""
        await self.forever(self.once)

    @abstractmethod
    async def once(self) -> None:
        """Work until something fails."""

    def beat(self) -> None:
        self.beats.append(time.monotonic())

    async def forever(self, once: Callable[[], Awaitable[None]]) -> None:
        """Repeat `once`, on another server after each failure."""
        while True:
            with contextlib.suppress(*TROUBLE):
                await once()
            self.at = (self.at + 1) % len(self.servers)
            await asyncio.sleep(self.random.uniform(0.02, 0.2))


class Writer(Client):
    """Writes `per_s` messages a second into its rooms, and records how each try ended."""

    def __init__(self, *args: Any, rooms: list[int], per_s: float) -> None:
        super().__init__(*args)
        self.rooms, self.per_s = rooms, per_s
        self.writes: list[Write] = []
        self.resends = 0
        self.quiet = False  # nothing new any more
        self._again: list[tuple[float, Write]] = []
        self._numbers = itertools.count(1)

    @property
    def settled(self) -> bool:
        return not self._again

    def next_write(self) -> Write | None:
        """The write that is due: a repeat, or a new one."""
        now = time.monotonic()
        for place, (when, write) in enumerate(self._again):
            if when <= now or (self.quiet and write.seqs):  # what is repeated on purpose need not wait in the end
                del self._again[place]
                self.resends += 1
                return write
        if self.quiet:
            return None
        write = Write(self.random.choice(self.rooms), f"{self.name}-{next(self._numbers):06}")
        self.writes.append(write)
        return write

    def later(self, write: Write, retry_ms: int = 100) -> None:
        self._again.append((time.monotonic() + retry_ms / 1000 * self.random.uniform(0.5, 1.0), write))

    def acked(self, write: Write) -> None:
        self.beat()
        if self.random.random() < ON_PURPOSE and not self.quiet:
            self.later(write, self.random.choice([0, 200, 5000]))

    def answered(self, after_s: float) -> None:
        """Called for each answer, of whatever kind."""

    def note(self, write: Write, code: str) -> None:
        """Record what a refusal says about the log."""
        if code in ("unavailable", "busy"):
            write.refused += 1
        else:
            write.undecided += 1
            if code != "unknown":
                self.odd.append(f"{write.text} was refused: {code}")

    def failed(self, write: Write, code: str, retry_ms: int) -> None:
        """Schedule another try, or give the write up."""
        if code == "unknown" or self.random.random() > GIVES_UP:
            self.later(write, retry_ms)


class RestWriter(Writer):
    """A writer that sends one request at a time over REST."""

    async def once(self) -> None:
        while write := self.next_write():
            await self._post_one(write)
            await asyncio.sleep(self.random.uniform(0.5, 1.5) / self.per_s)
        await asyncio.sleep(0.05)

    async def _post_one(self, write: Write) -> None:
        body = {"chatmessage": write.text, "requestId": write.text}
        url = f"{self.url}/v1/chat/rooms/{write.room}/messages"
        timeout = aiohttp.ClientTimeout(total=PATIENCE_S)
        try:
            async with self.http.post(url, json=body, headers=self.headers, timeout=timeout) as response:
                answer = await response.json()
        except (*TROUBLE, ValueError):
            write.undecided += 1
            self.later(write)
            raise
        if response.status == 201:
            write.seqs.append(answer["seq"])
            return self.acked(write)
        code = answer["error"]["code"]
        self.note(write, code)
        self.failed(write, code, int(response.headers.get("Retry-After", 1)) * 1000)


@dataclass
class Pending:
    """A write in flight on a socket: since when, in how many copies, and what the answers said so far."""

    write: Write
    since: float
    copies: int
    seq: int | None = None
    code: str = ""
    retry_ms: int = 100


class SocketWriter(Writer):
    """A writer that keeps many writes in flight on a websocket, and sends some of them twice at once."""

    async def once(self) -> None:
        pending: dict[str, Pending] = {}
        async with self.connect() as ws:
            sender = asyncio.create_task(self._send(ws, pending))
            try:
                async for frame in frames_of(ws):
                    self._hear(frame, pending)
            finally:
                sender.cancel()
                await asyncio.gather(sender, return_exceptions=True)
                for each in pending.values():
                    each.write.undecided += 1
                    self.later(each.write)

    async def _send(self, ws: aiohttp.ClientWebSocketResponse, pending: dict[str, Pending]) -> None:
        while True:
            await asyncio.sleep(self.random.uniform(0.5, 1.5) / self.per_s)
            now = time.monotonic()
            if now - min((each.since for each in pending.values()), default=now) > PATIENCE_S:
                self.odd.append(f"{self.name} got no answer on a socket that lives")
                return await hang_up(ws)
            if len(pending) >= IN_FLIGHT or not (write := self.next_write()):
                continue
            copies = 2 if self.random.random() < ON_PURPOSE else 1
            pending[write.text] = Pending(write, now, copies)
            frame = {"type": 1, "chatroomId": write.room, "chatmessage": write.text, "requestId": write.text}
            try:
                for _ in range(copies):
                    await ws.send_json(frame)
            except TROUBLE:
                return await hang_up(ws)

    def _hear(self, frame: dict[str, Any], pending: dict[str, Pending]) -> None:
        if frame["type"] not in (13, 14) or (each := pending.get(frame.get("requestId", ""))) is None:
            return
        each.copies -= 1
        self.answered(time.monotonic() - each.since)
        if frame["type"] == 13:
            each.seq = frame["seq"]
            each.write.seqs.append(frame["seq"])
        else:
            each.code, each.retry_ms = frame["code"], frame.get("retryMs", 100)
            self.note(each.write, each.code)
        if each.copies:
            return
        del pending[each.write.text]
        if each.seq is None:
            self.failed(each.write, each.code, each.retry_ms)
        else:
            self.acked(each.write)


async def frames_of(ws: aiohttp.ClientWebSocketResponse) -> AsyncIterator[dict[str, Any]]:
    """The received frames, until the connection ends in whatever way."""
    async for message in ws:
        if message.type is not aiohttp.WSMsgType.TEXT:
            return
        yield message.json()


async def hang_up(ws: aiohttp.ClientWebSocketResponse) -> None:
    with contextlib.suppress(*TROUBLE):
        async with asyncio.timeout(1):
            await ws.close()


class Observer(Client):
    """Reads rooms over chat.v2, resumes each where it was, and pages what a resume leaves out."""

    def __init__(self, *args: Any, rooms: list[int]) -> None:
        super().__init__(*args)
        self.views = {room: View(f"observer {self.at}", room) for room in rooms}
        self._paging: dict[int, asyncio.Task[None]] = {}
        self._held: dict[int, list[tuple[int, str]]] = {}

    def last(self, room: int) -> int:
        entries = self.views[room].entries
        return entries[-1][0] if entries else 0

    async def once(self) -> None:
        self._held.clear()
        try:
            async with self.connect() as ws:
                for room in self.views:
                    await ws.send_json({"type": 11, "chatroomId": room, "after": self.last(room)})
                async for frame in frames_of(ws):
                    await self._hear(ws, frame)
        finally:
            for task in self._paging.values():
                task.cancel()
            await asyncio.gather(*self._paging.values(), return_exceptions=True)
            self._paging.clear()

    async def _hear(self, ws: aiohttp.ClientWebSocketResponse, frame: dict[str, Any]) -> None:
        room = frame.get("chatroomId")
        if room not in self.views:
            return
        if frame["type"] == 14:
            await asyncio.sleep(0.2)
            await ws.send_json({"type": 11, "chatroomId": room, "after": self.last(room)})
        elif frame["type"] == 11:
            if not frame["complete"]:
                if frame["from"] <= self.last(room):
                    self.odd.append(f"{self.name}: another log? {frame}")
                self._held[room] = []
                self._paging[room] = asyncio.create_task(self._page(ws, room, frame["to"]))
        elif "seq" in frame:
            self.beat()
            entry = frame["seq"], text_of(frame)
            if room in self._held:
                self._held[room].append(entry)
            else:
                self.views[room].entries.append(entry)

    async def _page(self, ws: aiohttp.ClientWebSocketResponse, room: int, to: int) -> None:
        """Read the events up to `to`. Those that came live meanwhile follow."""
        try:
            while (after := self.last(room)) < to:
                page = await read_page(self.http, self.url, self.headers, room, after, min(1000, to - after))
                self.views[room].entries += [(frame["seq"], text_of(frame)) for frame in page]
        except (*TROUBLE, ValueError):
            await hang_up(ws)
        else:
            self.views[room].entries += self._held.pop(room)


class OldObserver(Client):
    """Reads rooms as the original's clients do: without numbers to resume from, so it may miss messages."""

    def __init__(self, *args: Any, rooms: list[int]) -> None:
        super().__init__(*args)
        self.rooms = rooms
        self.views = {room: View(f"plain observer {self.at}", room, dense=False) for room in rooms}

    async def join(self) -> None:
        """Join the rooms: a client hears no others."""
        for room in self.rooms:
            async with self.http.put(f"{self.url}/v1/chat/rooms/{room}/members/me", headers=self.headers) as response:
                response.raise_for_status()

    async def once(self) -> None:
        async with self.connect(v2=False) as ws:
            async for frame in frames_of(ws):
                if frame["type"] == 1 and frame["chatroomId"] in self.views:
                    self.beat()
                    self.views[frame["chatroomId"]].entries.append((frame["seq"], text_of(frame)))


def text_of(frame: dict[str, Any]) -> str:
    """The log entry of a frame: a writer's text, or, with a leading *, the server's own line."""
    return str(frame["chatmessage"]) if frame["type"] == 1 else f"*{frame['action']} {frame.get('username', '')}"


async def read_page(
    http: aiohttp.ClientSession, url: str, headers: dict[str, str], room: int, after: int, limit: int = 1000
) -> list[dict[str, Any]]:
    timeout = aiohttp.ClientTimeout(total=10)
    address = f"{url}/v1/chat/rooms/{room}/events?after={after}&limit={limit}"
    async with http.get(address, headers=headers, timeout=timeout) as response:
        response.raise_for_status()
        found: list[dict[str, Any]] = await response.json()
        return found
