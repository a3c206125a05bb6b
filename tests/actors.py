"""Small actors: a server, people who sign up, the wires they hold, and a stock service that misbehaves on demand."""

import asyncio
import contextlib
import dataclasses
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable
from functools import cache
from pathlib import Path
from secrets import token_hex
from typing import Any, Self

import aiohttp
import argon2
from aiohttp import web

from chat import config
from chat.app import make_app
from chat.auth.tokens import Tokens
from chat.bots.stock_bot import stock_bot
from chat.broker.factory import make_broker
from chat.config import Settings
from chat.db.pool import Database
from chat.domain.accounts import User

ROOT = Path(__file__).parent.parent
PATIENCE_S = 10.0  # how long a test waits for something that has to happen
GENERAL = 1
PASSWORD = "correct horse"

Frame = dict[str, Any]


def unique(name: str = "x") -> str:
    """A name that no other test has."""
    return f"{name}-{token_hex(4)}"


class Wire:
    """One websocket: what it hears waits here until a test asks for it."""

    def __init__(self, ws: aiohttp.ClientWebSocketResponse, person: "Person") -> None:
        self.ws, self.person = ws, person
        self.heard: list[Frame] = []  # every frame so far, in order
        self.raw: list[str] = []
        self.close_code: int | None = None
        self._seen = 0  # frames that `gets` has handed out
        self._more = asyncio.Event()
        self._reader = asyncio.create_task(self._read())

    async def _read(self) -> None:
        while (message := await self.ws.receive()).type is aiohttp.WSMsgType.TEXT:
            self.raw.append(message.data)
            self.heard.append(message.json())
            self._more.set()
        # What the server said; the library's own close_code is 1006 when our answer to it meets a closed door.
        self.close_code = message.data if message.type is aiohttp.WSMsgType.CLOSE else self.ws.close_code
        self._more.set()

    async def send(self, frame: Frame | str) -> None:
        await (self.ws.send_str(frame) if isinstance(frame, str) else self.ws.send_json(frame))

    async def says(self, text: str, room: int = GENERAL, **more: Any) -> None:
        await self.send({"type": 1, "chatmessage": text, "chatroomId": room, **more})

    async def resume(self, room: int = GENERAL, after: int = 0, **more: Any) -> Frame:
        """Makes the room live; the verdict."""
        await self.send({"type": 11, "chatroomId": room, "after": after, **more})
        return await self.gets(type=11, chatroomId=room)

    async def gets(self, within_s: float = PATIENCE_S, **fields: Any) -> Frame:
        """The next frame with these fields, passing over others; fails when none comes."""
        with_fields = fields.items()
        try:
            async with asyncio.timeout(within_s):
                while True:
                    while self._seen < len(self.heard):
                        frame = self.heard[self._seen]
                        self._seen += 1
                        if with_fields <= frame.items():
                            return frame
                    if self._reader.done():
                        raise AssertionError(f"closed ({self.close_code}) before {fields}: {self.heard[-5:]}")
                    self._more.clear()
                    await self._more.wait()
        except TimeoutError:
            raise AssertionError(f"{self.person.username} never got {fields}; last: {self.heard[-5:]}") from None

    async def hears(self, text: str, **fields: Any) -> Frame:
        return await self.gets(type=1, chatmessage=text, **fields)

    async def errs(self, code: str, **fields: Any) -> Frame:
        return await self.gets(type=14, code=code, **fields)

    async def round_trip(self) -> None:
        """Returns when the server has handled all that was sent before."""
        mark = unique("mark")
        await self.send({"type": 1, "chatmessage": "\x00", "chatroomId": GENERAL, "requestId": mark})
        await self.gets(type=14, requestId=mark)

    def seqs(self, room: int = GENERAL) -> list[int]:
        """The numbers of the events heard from a room, in the order of their coming."""
        return [frame["seq"] for frame in self.heard if frame.get("chatroomId") == room and frame["type"] in (1, 5, 6)]

    async def closed(self, within_s: float = PATIENCE_S) -> int | None:
        """Waits until the server has ended it; the close code."""
        await asyncio.wait_for(asyncio.shield(self._reader), within_s)
        return self.close_code

    async def close(self) -> None:
        await self.ws.close()
        await self._reader


class Person:
    """Somebody with an account."""

    def __init__(self, chat: "Chat", session: Frame) -> None:
        self.chat, self.token = chat, session["token"]
        self.id: int = session["user"]["id"]
        self.username: str = session["user"]["username"]
        self.email: str = session["user"]["email"]

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"}

    async def asks(
        self, method: str, path: str, body: Any = None, status: int = 200, headers: dict[str, str] | None = None
    ) -> Any:
        """The JSON of an answer, which must have this status."""
        return await self.chat.asks(method, path, body, status, headers={**self.headers, **(headers or {})})

    async def gets(self, path: str) -> Any:
        return await self.asks("GET", path)

    async def posts(self, text: str, room: int = GENERAL, status: int = 201, **more: Any) -> Any:
        return await self.asks("POST", f"/v1/chat/rooms/{room}/messages", {"chatmessage": text, **more}, status)

    async def creates(self, name: str = "", topic: str = "") -> int:
        """A new room's id."""
        room = await self.asks("POST", "/v1/chat/rooms", {"name": name or unique("room"), "topic": topic}, 201)
        return int(room["id"])

    async def joins(self, room: int) -> None:
        await self.asks("PUT", f"/v1/chat/rooms/{room}/members/me", status=204)

    async def leaves(self, room: int) -> None:
        await self.asks("DELETE", f"/v1/chat/rooms/{room}/members/me", status=204)

    async def events(self, room: int = GENERAL, after: int = 0) -> list[Frame]:
        """All events of a room after a number, page by page."""
        found: list[Frame] = []
        while page := await self.gets(f"/v1/chat/rooms/{room}/events?after={after}&limit=1000"):
            found += page
            after = page[-1]["seq"]
        return found

    async def connects(self, *, v2: bool = True, chat: "Chat | None" = None, **options: Any) -> Wire:
        """A wire: of chat.v2, after its hello, or as the original's clients have it."""
        chat = chat or self.chat
        if v2:
            ws = await chat.http.ws_connect("/v1/ws", protocols=["chat.v2", f"bearer.{self.token}"], **options)
            wire = Wire(ws, self)
            await wire.gets(type=10)
        else:
            wire = Wire(await chat.http.ws_connect(f"/v1/ws?token={self.token}", **options), self)
            await wire.round_trip()  # its rooms are live before it is read
        chat.wires.append(wire)
        return wire


class Chat:
    """A running server, and whoever talks to it. `settings` are the server's, if they are known."""

    def __init__(self, base_url: str, app: web.Application | None = None, settings: Settings | None = None) -> None:
        self.base_url, self.app, self.settings = base_url, app, settings
        self.wires: list[Wire] = []
        self.http: aiohttp.ClientSession
        self._db: Database | None = None

    @classmethod
    def at(cls, server: "Process") -> Self:
        """Of a process."""
        return cls(f"http://127.0.0.1:{server.port}", settings=server.settings)

    async def __aenter__(self) -> Self:
        self.http = aiohttp.ClientSession(self.base_url, connector=aiohttp.TCPConnector(limit=0))
        return self

    async def __aexit__(self, *_: object) -> None:
        for wire in self.wires:
            await wire.close()
        await self.http.close()
        if self._db is not None:
            await self._db.close()

    async def asks(self, method: str, path: str, body: Any = None, status: int = 200, **options: Any) -> Any:
        async with self.http.request(method, path, json=body, **options) as response:
            text = await response.text()
            assert response.status == status, f"{method} {path}: {response.status} {text}"
            return await response.json() if text else None

    async def sign_up(self, name: str = "somebody") -> Person:
        """Somebody new, whose name begins with `name` and whose password is `PASSWORD`.

        Past the server where its settings are known, with a hash made once: to hash takes longer than most tests
        do. Those of accounts go the long way.
        """
        username = unique(name)
        email = f"{username}@example.com"
        if self.settings is None:
            body = {"username": username, "email": email, "password": PASSWORD}
            return Person(self, await self.asks("POST", "/v1/auth/signup", body, 201))
        if self._db is None:
            self._db = Database(self.settings.database_url, size=1, name="test")
            await self._db.open()
        user = await self._db.fetch_one(
            "users/create", User, username=username, email=email, password_hash=password_hash()
        )
        assert user is not None
        epoch = await self._db.fetch_value("epoch/get", str)
        assert epoch is not None
        tokens = Tokens(self.settings.jwt_secret, ttl_s=self.settings.access_token_ttl_s, epoch=epoch)
        return Person(self, {"token": tokens.issue(user.id, username, email)[0], "user": user._asdict()})


@cache
def password_hash() -> str:
    """A real hash of `PASSWORD`, so that the people made with it can log in."""
    return argon2.PasswordHasher(parallelism=1).hash(PASSWORD)


@contextlib.asynccontextmanager
async def serving(settings: Settings) -> AsyncIterator[Chat]:
    """A server inside this process."""
    runner = web.AppRunner(make_app(settings), access_log=None, keepalive_timeout=1, shutdown_timeout=1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = runner.addresses[0][1]
        async with Chat(f"http://127.0.0.1:{port}", runner.app, settings) as chat:
            yield chat
    finally:
        await runner.cleanup()


@contextlib.asynccontextmanager
async def robots(settings: Settings) -> AsyncIterator[None]:
    """A robot inside this process, on a connection of its own."""
    broker = make_broker(settings.amqp_url, prefix=settings.amqp_prefix, durable=settings.robot_queues_durable)
    async with stock_bot(broker, settings):
        await broker.open()
        try:
            yield
        finally:
            await broker.close()


class Process:
    """`python -m chat …` as a process of the operating system."""

    def __init__(self, process: asyncio.subprocess.Process, settings: Settings, port: int, lines: list[str]) -> None:
        self.process, self.settings, self.port, self.lines = process, settings, port, lines

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    async def ended(self, within_s: float = PATIENCE_S) -> int:
        return await asyncio.wait_for(self.process.wait(), within_s)


@contextlib.asynccontextmanager
async def process(command: str, settings: Settings, *, port: int = 0, **changed: str) -> AsyncIterator[Process]:
    """Runs a command with these settings; for `serve` and `run`, after it listens."""
    port = port or free_port()
    environment = {
        **os.environ,
        **{
            each.name.upper(): as_text(getattr(settings, each.name))
            for each in dataclasses.fields(settings)
            if each.name != "port"
        },
        "PORT": str(port),
        **changed,
    }
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "chat",
        command,
        cwd=ROOT,
        env=environment,
        stderr=asyncio.subprocess.PIPE,
        stdin=asyncio.subprocess.DEVNULL,
    )
    lines: list[str] = []
    ready = asyncio.Event()

    async def read() -> None:
        assert child.stderr is not None
        async for line in child.stderr:
            lines.append(line.decode())
            if "listening on" in lines[-1] or "the bot listens" in lines[-1]:
                ready.set()
        ready.set()

    reader = asyncio.create_task(read())
    try:
        await asyncio.wait_for(ready.wait(), 30)
        yield Process(child, settings, port, lines)
    finally:
        if child.returncode is None:
            child.terminate()
            try:
                await asyncio.wait_for(child.wait(), 15)
            except TimeoutError:
                child.kill()
                await child.wait()
        await reader


def as_text(value: Any) -> str:
    """A setting as the environment has it."""
    if isinstance(value, bool):
        return "1" if value else "0"
    return ",".join(value) if isinstance(value, tuple) else str(value)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def eventually(holds: Callable[[], bool], within_s: float = PATIENCE_S) -> None:
    """Waits until something is so that nobody announces."""
    async with asyncio.timeout(within_s):
        while not holds():
            await asyncio.sleep(0.01)


class StockService:
    """A local stand-in for the CSV service: real HTTP, and each way of going wrong has a code."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self._release = asyncio.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/q/l/?s={{code}}&f=sd2t2ohlcv&h&e=csv"

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_get("/q/l/", self._answer)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._release.set()
        await self._runner.cleanup()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        header = "Symbol,Date,Time,Open,High,Low,Close,Volume\r\n"
        code = request.query["s"]
        self.asked.append(code)
        if code == "hangs":
            await self._release.wait()
        answers = {
            "n.d": header + "N.D,N/D,N/D,N/D,N/D,N/D,N/D,N/D\r\n",
            "empty": "",
            "headless": header,
            "truncated": header + "TRUNCATED,2026-11-20,22:0",
            "html": "<html><body>Exceeded the daily hits limit</body></html>",
            "nonsense": header + "NONSENSE,2026-11-20,22:00:09,1,2,3,lots,5\r\n",
            "other": header + "MSFT.US,2026-11-20,22:00:09,1,2,3,4,5\r\n",
            "huge": header + "x" * 1_000_000,
        }
        if code in ("404", "500"):
            return web.Response(status=int(code), text="no")
        usual = header + f"{code.upper()},2026-11-20,22:00:09,93,94.5,92.1,93.42,75486300\r\n"
        return web.Response(text=answers.get(code, usual), content_type="text/csv")


def settings_for(database_url: str, **changed: Any) -> Settings:
    """Settings for a test: real services, names of its own, no rate limit."""
    found = config.load(dotenv=ROOT / ".env")
    defaults: dict[str, Any] = {
        "host": "127.0.0.1",
        "database_url": database_url,
        "amqp_url": found.amqp_url,
        "amqp_prefix": f"test-{token_hex(4)}.",
        "jwt_secret": token_hex(32),
        "rate_limit_per_s": 0.0,
        "allowed_origins": ("https://friend.example",),
        "db_pool_size": 4,
        "db_startup_timeout_s": 5.0,
        "command_timeout_s": 8.0,
    }
    return Settings(**{**defaults, **changed})
