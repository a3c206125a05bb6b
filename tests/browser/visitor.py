"""People at their browsers: a house whose server can be shut and opened again, and visitors with a page each."""

import contextlib
import json
import re
import shutil
import signal
from collections.abc import AsyncIterator
from typing import Any

import psycopg2
from playwright.async_api import Browser, ConsoleMessage, Locator, Page, Playwright, WebSocketRoute, expect

from chat.config import Settings
from tests.actors import ROOT, Chat, Person, Process, free_port, process, unique

AXE = ROOT / ".node/browser/node_modules/axe-core/axe.min.js"
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
# No sandbox, because tests may run as root; the rest keeps a browser quiet that has no network.
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PASSWORD = "correct horse"
# What the browser itself writes on its console when a server is not there, or refuses.
OFFLINE = (
    r"WebSocket connection to .* failed"
    r"|net::ERR_(CONNECTION_(REFUSED|RESET|CLOSED|ABORTED)|EMPTY_RESPONSE|SOCKET_NOT_CONNECTED|INTERNET_DISCONNECTED)"
)

expect.set_options(timeout=8_000)


async def launched(playwright: Playwright) -> Browser:
    return await playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)


class House:
    """A server as a process of its own, always on the same port."""

    def __init__(self, settings: Settings) -> None:
        self.settings, self.port = settings, free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.process: Process
        self._stack = contextlib.AsyncExitStack()

    async def opens(self) -> None:
        self.process = await self._stack.enter_async_context(process("serve", self.settings, port=self.port))

    async def falls(self) -> None:
        """The server is gone at once, without a word."""
        self.process.signal(signal.SIGKILL)
        await self.closes()

    async def closes(self) -> None:
        await self._stack.aclose()

    async def restarts(self) -> None:
        await self.closes()
        await self.opens()

    def fill(self, room: int, user: int, messages: int, days: int = 1) -> None:
        """Puts a long conversation into a new room, spread over so many days, faster than anybody can talk."""
        with contextlib.closing(psycopg2.connect(self.settings.database_url)) as connection, connection:
            connection.cursor().execute(
                """
                INSERT INTO events (room_id, seq, kind, user_id, body, message_no, client_id, created_at)
                SELECT %(room)s, n + 1, 1, %(user)s, 'message ' || n || repeat(' and more', n %% 17), n, 'fill-' || n,
                    now() - make_interval(secs => (%(messages)s - n) * %(days)s * 86400.0 / %(messages)s)
                FROM generate_series(1, %(messages)s) AS n;
                UPDATE rooms SET last_seq = %(messages)s + 1, last_message_no = %(messages)s WHERE id = %(room)s;
                UPDATE events SET created_at = now() - make_interval(days => %(days)s)
                WHERE room_id = %(room)s AND seq = 1;
                UPDATE members SET read_message_no = %(messages)s WHERE room_id = %(room)s
                """,
                {"room": room, "user": user, "messages": messages, "days": days},
            )


class Visitor:
    """Somebody with a browser. `problems`: what his console complained about."""

    def __init__(self, page: Page, url: str, person: Person | None) -> None:
        self.page, self.url, self.person = page, url, person
        self.problems: list[str] = []
        self.allowed: list[str] = []
        page.on("console", self._complain)
        page.on("pageerror", lambda error: self.problems.append(f"{error}\n{error.stack}"))

    def _complain(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.problems.append(message.text)

    def forgives(self, pattern: str) -> None:
        """From the beginning of the visit, complaints like this are expected."""
        self.allowed.append(pattern)

    def unforgiven(self) -> list[str]:
        return [each for each in self.problems if not any(re.search(pattern, each) for pattern in self.allowed)]

    # --- what one sees ----------------------------------------------------------------------------------

    def __getitem__(self, selector: str) -> Locator:
        return self.page.locator(selector)

    @property
    def messages(self) -> Locator:
        return self["#messages .bubble"]

    @property
    def box(self) -> Locator:
        return self["#message"]

    def message(self, text: str) -> Locator:
        return self.page.locator(".bubble", has_text=re.compile(f"^{re.escape(text)}$"))

    def room(self, name: str) -> Locator:
        return self.page.locator("#rooms a", has=self.page.locator("bdi", has_text=re.compile(f"^{re.escape(name)}$")))

    async def sees(self, text: str) -> None:
        """A message, once."""
        await expect(self.message(text)).to_have_count(1)

    async def texts(self) -> list[str]:
        return await self.messages.all_text_contents()

    async def is_in(self, name: str) -> None:
        await expect(self["#room-name"]).to_have_text(name)

    async def scroll_top(self) -> float:
        return float(await self["#scroller"].evaluate("node => node.scrollTop"))

    # --- what one does ----------------------------------------------------------------------------------

    async def arrives(self, path: str = "/") -> "Visitor":
        await self.page.goto(self.url + path)
        if self.person:
            await expect(self["#room-name"]).to_have_text(re.compile("^(?!Connecting).+"))
        return self

    async def says(self, text: str) -> None:
        await self.box.fill(text)
        await self.box.press("Enter")

    async def signs_up(self, name: str) -> str:
        """By hand, at the card; the whole name."""
        username = unique(name)
        await self["#login-switch"].click()
        await self["#username"].fill(username)
        await self["#email"].fill(f"{username}@example.com")
        await self["#password"].fill(PASSWORD)
        await self["#login-submit"].click()
        await self.is_in("General")
        return username

    async def scrolls(self, pixels: int) -> None:
        await self["#scroller"].hover()
        await self.page.mouse.wheel(0, pixels)
        await self.page.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")

    async def violations(self) -> list[str]:
        """What axe-core finds wrong with what is shown now."""
        await self.page.evaluate(AXE.read_text(encoding="utf-8"))
        found: list[dict[str, Any]] = await self.page.evaluate("axe.run().then(result => result.violations)")
        return [f"{each['id']}: {[node['html'] for node in each['nodes']]}" for each in found]

    async def fits(self) -> None:
        """Nothing has to be scrolled sideways."""
        width, inner = await self.page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
        assert width <= inner, f"{width} pixels on {inner}"


class Crowd:
    """Whoever visits in one test."""

    def __init__(self, browser: Browser, house: House, chat: Chat) -> None:
        self.browser, self.house, self.chat = browser, house, chat
        self.visitors: list[Visitor] = []

    async def stranger(self, **options: Any) -> Visitor:
        """Somebody without a session, at the door."""
        return await (await self._comes(None, **options)).arrives()

    async def guest(
        self, name: str = "guest", path: str = "/", person: Person | None = None, **options: Any
    ) -> Visitor:
        """Somebody with an account and a session, in General or where the path leads."""
        return await (await self.comes(name, person, **options)).arrives(path)

    async def comes(self, name: str = "guest", person: Person | None = None, **options: Any) -> Visitor:
        """The same, but the page is not opened yet."""
        return await self._comes(person or await self.chat.sign_up(name), **options)

    async def tab(self, visitor: Visitor) -> Visitor:
        """A second tab of the same browser."""
        return self._noted(Visitor(await visitor.page.context.new_page(), self.house.url, visitor.person))

    async def _comes(self, person: Person | None, **options: Any) -> Visitor:
        if person:
            user = {"id": person.id, "username": person.username, "email": person.email}
            kept = {"name": "chat.session", "value": json.dumps({"token": person.token, "user": user})}
            options["storage_state"] = {"origins": [{"origin": self.house.url, "localStorage": [kept]}], "cookies": []}
        settings = {"viewport": {"width": 1100, "height": 700}, "locale": "en-GB", "timezone_id": "UTC", **options}
        context = await self.browser.new_context(**settings)
        return self._noted(Visitor(await context.new_page(), self.house.url, person))

    def _noted(self, visitor: Visitor) -> Visitor:
        self.visitors.append(visitor)
        return visitor

    async def leaves(self) -> None:
        for context in {visitor.page.context for visitor in self.visitors}:
            await context.close()
        for visitor in self.visitors:
            assert not visitor.unforgiven(), visitor.unforgiven()


class Line:
    """The wire between a page and its server, in the hands of a test: frames by type can be held, and let go."""

    def __init__(self) -> None:
        self.holding: set[int] = set()
        self.held: list[str] = []
        self.deaf = False  # what the page says goes nowhere; a new connection hears again
        self.sent: list[dict[str, Any]] = []  # what the page said, over all connections
        self._page: WebSocketRoute
        self._server: WebSocketRoute

    @classmethod
    async def of(cls, visitor: Visitor) -> "Line":
        line = cls()
        await visitor.page.route_web_socket(re.compile("/v1/ws"), line._connect)
        return line

    def _connect(self, page: WebSocketRoute) -> None:
        self._page, self._server = page, page.connect_to_server()
        self.deaf = False
        page.on_message(self._up)
        self._server.on_message(self._down)

    def _up(self, text: str | bytes) -> None:
        self.sent.append(json.loads(text))
        if not self.deaf:
            self._server.send(text)

    def _down(self, text: str | bytes) -> None:
        if json.loads(text)["type"] in self.holding:
            self.held.append(str(text))
        else:
            self._page.send(text)

    def said(self, text: str) -> list[dict[str, Any]]:
        """The page's frames with this message."""
        return [frame for frame in self.sent if frame.get("chatmessage") == text]

    def says(self, frame: dict[str, Any] | str) -> None:
        """To the page, as if the server had."""
        self._page.send(frame if isinstance(frame, str) else json.dumps(frame))

    def lets_go(self) -> None:
        self.holding.clear()
        for text in self.held:
            self._page.send(text)
        self.held.clear()

    async def breaks(self, code: int = 1012) -> None:
        await self._page.close(code=code)
        await self._server.close()


@contextlib.asynccontextmanager
async def opened(settings: Settings) -> AsyncIterator[House]:
    house = House(settings)
    await house.opens()
    try:
        yield house
    finally:
        await house.closes()
