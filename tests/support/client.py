"""The clients of a server: users over REST, and the websockets they hold."""

import asyncio
from functools import cache
from typing import Any, Self

import aiohttp
import argon2

from chat.auth.tokens import Tokens
from chat.config import Settings
from chat.db.pool import Database
from chat.domain.accounts import User
from tests.support.names import unique
from tests.support.waiting import PATIENCE_S

GENERAL = 1
PASSWORD = "correct horse"

Frame = dict[str, Any]


class WebsocketClient:
    """One websocket: it keeps what it receives until a test asks for it."""

    def __init__(self, ws: aiohttp.ClientWebSocketResponse, person: "Person") -> None:
        self.ws, self.person = ws, person
        self.heard: list[Frame] = []  # every frame so far, in order
        self.raw: list[str] = []
        self.close_code: int | None = None
        self._seen = 0  # frames that `expect` has handed out
        self._more = asyncio.Event()
        self._reader = asyncio.create_task(self._read())

    async def _read(self) -> None:
        while (message := await self.ws.receive()).type is aiohttp.WSMsgType.TEXT:
            self.raw.append(message.data)
            self.heard.append(message.json())
            self._more.set()
        # What the server said; the library's own close_code is 1006 when our answer to it finds the connection closed.
        self.close_code = message.data if message.type is aiohttp.WSMsgType.CLOSE else self.ws.close_code
        self._more.set()

    async def send(self, frame: Frame | str) -> None:
        await (self.ws.send_str(frame) if isinstance(frame, str) else self.ws.send_json(frame))

    async def says(self, text: str, room: int = GENERAL, **more: Any) -> None:
        await self.send({"type": 1, "chatmessage": text, "chatroomId": room, **more})

    async def resume(self, room: int = GENERAL, after: int = 0, **more: Any) -> Frame:
        """Make the room live; return the server's answer."""
        await self.send({"type": 11, "chatroomId": room, "after": after, **more})
        return await self.expect(type=11, chatroomId=room)

    async def expect(self, within_s: float = PATIENCE_S, **fields: Any) -> Frame:
        """Return the next frame with these fields, passing over others; fail when none comes."""
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
        return await self.expect(type=1, chatmessage=text, **fields)

    async def errs(self, code: str, **fields: Any) -> Frame:
        return await self.expect(type=14, code=code, **fields)

    async def round_trip(self) -> None:
        """Return when the server has handled all that was sent before."""
        mark = unique("mark")
        await self.send({"type": 1, "chatmessage": "\x00", "chatroomId": GENERAL, "requestId": mark})
        await self.expect(type=14, requestId=mark)

    def seqs(self, room: int = GENERAL) -> list[int]:
        """The numbers of the events heard from a room, in the order in which they came."""
        return [frame["seq"] for frame in self.heard if frame.get("chatroomId") == room and frame["type"] in (1, 5, 6)]

    def has_heard(self, **fields: Any) -> bool:
        """Return whether a frame with these fields has come."""
        return any(fields.items() <= frame.items() for frame in self.heard)

    async def closed(self, within_s: float = PATIENCE_S) -> int | None:
        """Wait until the server has closed it; return the close code."""
        await asyncio.wait_for(asyncio.shield(self._reader), within_s)
        return self.close_code

    async def close(self) -> None:
        await self.ws.close()
        await self._reader


class Person:
    """A user, over REST."""

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

    async def connects(self, *, v2: bool = True, chat: "Chat | None" = None, **options: Any) -> WebsocketClient:
        """Open a websocket: of chat.v2, after its hello, or as the original's clients have it."""
        chat = chat or self.chat
        if v2:
            ws = await chat.http.ws_connect("/v1/ws", protocols=["chat.v2", f"bearer.{self.token}"], **options)
            client = WebsocketClient(ws, self)
            await client.expect(type=10)
        else:
            client = WebsocketClient(await chat.http.ws_connect(f"/v1/ws?token={self.token}", **options), self)
            await client.round_trip()  # its rooms are live before it is read
        chat.websockets.append(client)
        return client


class Chat:
    """A running server as its clients see it. `settings` are the server's, if they are known."""

    def __init__(self, base_url: str, settings: Settings | None = None) -> None:
        self.base_url = base_url
        self.settings = settings
        self.websockets: list[WebsocketClient] = []
        self.http: aiohttp.ClientSession
        self._db: Database | None = None

    async def __aenter__(self) -> Self:
        self.http = aiohttp.ClientSession(self.base_url, connector=aiohttp.TCPConnector(limit=0))
        return self

    async def __aexit__(self, *_: object) -> None:
        for client in self.websockets:
            await client.close()
        await self.http.close()
        if self._db is not None:
            await self._db.close()

    async def asks(self, method: str, path: str, body: Any = None, status: int = 200, **options: Any) -> Any:
        async with self.http.request(method, path, json=body, **options) as response:
            text = await response.text()
            assert response.status == status, f"{method} {path}: {response.status} {text}"
            return await response.json() if text else None

    async def sign_up(self, name: str = "somebody") -> Person:
        """Create a user whose name begins with `name` and whose password is `PASSWORD`.

        Where the settings of the server are known, the user is written to its database with a hash made once,
        because hashing takes longer than most tests do.
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
    """A real hash of `PASSWORD`, so that the users made with it can log in."""
    return argon2.PasswordHasher(parallelism=1).hash(PASSWORD)
