"""Users with a browser each, a server that a test can kill and start again, and websockets that it can intercept."""

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
from tests.support.client import Chat, Person
from tests.support.names import unique
from tests.support.processes import free_port
from tests.support.server import Process, process
from tests.support.settings import ROOT
from tests.support.waiting import eventually

AXE = ROOT / ".node/browser/node_modules/axe-core/axe.min.js"
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
# No sandbox, because tests may run as root. The other flags keep the browser quiet without a network.
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
MESSAGE, RESUMED, ACK, ERROR = 1, 11, 13, 14  # frame types
SERVICE_RESTART, SESSION_OVER = 1012, 4001  # close codes
# What the browser itself writes to its console when a server does not answer.
OFFLINE = (
    r"WebSocket connection to .* failed"
    r"|net::ERR_(CONNECTION_(REFUSED|RESET|CLOSED|ABORTED)|EMPTY_RESPONSE|SOCKET_NOT_CONNECTED|INTERNET_DISCONNECTED)"
)

expect.set_options(timeout=8_000)


async def launch_browser(playwright: Playwright) -> Browser:
    return await playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)


class RestartableServer:
    """A server in a process of its own, always on the same port."""

    def __init__(self, settings: Settings) -> None:
        self.settings, self.port = settings, free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.process: Process
        self._stack = contextlib.AsyncExitStack()

    async def start(self) -> None:
        self.process = await self._stack.enter_async_context(process("serve", self.settings, port=self.port))

    async def kill(self) -> None:
        """End the process at once, without a close handshake."""
        self.process.signal(signal.SIGKILL)
        await self.stop()

    async def stop(self) -> None:
        await self._stack.aclose()

    def insert_messages(self, room: int, user: int, messages: int, days: int = 1) -> None:
        """Write a conversation of this length, spread over so many days, into a new room of the database."""
        with contextlib.closing(psycopg2.connect(self.settings.database_url)) as connection, connection:
            connection.cursor().execute(
                """
                INSERT INTO events (room_id, seq, kind, user_id, body, message_no, request_id, created_at)
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


@contextlib.asynccontextmanager
async def running_server(settings: Settings) -> AsyncIterator[RestartableServer]:
    server = RestartableServer(settings)
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


class BrowserUser:
    """One tab of a browser, and the user in front of it."""

    def __init__(self, page: Page, url: str, person: Person | None) -> None:
        """`person`: the account that is logged in, None for a user who sees the log-in form."""
        self.page, self.url, self.person = page, url, person
        self.errors: list[str] = []  # of the page's console, warnings too
        self._expected_errors: list[str] = []
        page.on("console", self._on_console)
        page.on("pageerror", lambda error: self.errors.append(f"{error}\n{error.stack}"))

    def _on_console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.errors.append(message.text)

    def expects_errors(self, pattern: str) -> None:
        """Errors that match the pattern do not fail the test, also those that came before this call."""
        self._expected_errors.append(pattern)

    def unexpected_errors(self) -> list[str]:
        return [
            error for error in self.errors if not any(re.search(pattern, error) for pattern in self._expected_errors)
        ]

    # --- what the user sees -----------------------------------------------------------------------------

    def __getitem__(self, selector: str) -> Locator:
        return self.page.locator(selector)

    @property
    def messages(self) -> Locator:
        return self["#messages .bubble"]

    @property
    def box(self) -> Locator:
        """The box in which the user writes."""
        return self["#message"]

    def message(self, text: str) -> Locator:
        return self.page.locator(".bubble", has_text=re.compile(f"^{re.escape(text)}$"))

    def room(self, name: str) -> Locator:
        """The room's link in the sidebar."""
        return self.page.locator("#rooms a", has=self.page.locator("bdi", has_text=re.compile(f"^{re.escape(name)}$")))

    async def sees(self, text: str) -> None:
        """Wait until the message is shown exactly once."""
        await expect(self.message(text)).to_have_count(1)

    async def texts(self) -> list[str]:
        return await self.messages.all_text_contents()

    async def is_in(self, name: str) -> None:
        """Wait until the room with this name is open."""
        await expect(self["#room-name"]).to_have_text(name)

    async def scroll_top(self) -> float:
        return float(await self["#scroller"].evaluate("node => node.scrollTop"))

    async def axe_violations(self) -> list[str]:
        """What axe-core finds wrong with what is shown now."""
        await self.page.evaluate(AXE.read_text(encoding="utf-8"))
        violations: list[dict[str, Any]] = await self.page.evaluate("axe.run().then(result => result.violations)")
        return [f"{each['id']}: {[node['html'] for node in each['nodes']]}" for each in violations]

    async def fits(self) -> None:
        """Assert that the page is not wider than its window."""
        width, inner = await self.page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
        assert width <= inner, f"{width} pixels on {inner}"

    # --- what the user does -----------------------------------------------------------------------------

    async def opens(self, path: str = "/") -> "BrowserUser":
        """Load the page and, for a user who is logged in, wait until a room is shown."""
        await self.page.goto(self.url + path)
        if self.person:
            await expect(self["#room-name"]).to_have_text(re.compile("^(?!Connecting).+"))
        return self

    async def says(self, text: str) -> None:
        await self.box.fill(text)
        await self.box.press("Enter")

    async def signs_up(self, name: str) -> str:
        """Fill in the form and send it. Return the user name, which is unique."""
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


class BrowserUsers:
    """Makes the users of one test. Each has a browser context of their own, which knows nothing of the others."""

    def __init__(self, browser: Browser, server: RestartableServer, chat: Chat) -> None:
        self.browser, self.server, self.chat = browser, server, chat
        self._users: list[BrowserUser] = []

    async def at_login(self, **options: Any) -> BrowserUser:
        """A user who is not logged in, with the log-in form open. `options` are those of the browser context."""
        return await (await self._new(None, **options)).opens()

    async def logged_in(self, name: str = "guest", person: Person | None = None, **options: Any) -> BrowserUser:
        """A user who is logged in, as `person` or with a new account; the page is not open yet."""
        return await self._new(person or await self.chat.sign_up(name), **options)

    async def in_chat(
        self, name: str = "guest", path: str = "/", person: Person | None = None, **options: Any
    ) -> BrowserUser:
        """A user who is logged in and has the page open at `path`."""
        return await (await self.logged_in(name, person, **options)).opens(path)

    async def new_tab(self, user: BrowserUser) -> BrowserUser:
        """A second tab of the same browser, not opened yet."""
        return self._add(BrowserUser(await user.page.context.new_page(), self.server.url, user.person))

    async def close(self) -> None:
        """Close all pages, and fail if one of them had errors that the test did not expect."""
        for context in {user.page.context for user in self._users}:
            await context.close()
        for user in self._users:
            assert not user.unexpected_errors(), user.unexpected_errors()

    async def _new(self, person: Person | None, **options: Any) -> BrowserUser:
        if person:
            user = {"id": person.id, "username": person.username, "email": person.email}
            login = {"name": "chat.session", "value": json.dumps({"token": person.token, "user": user})}
            origin = {"origin": self.server.url, "localStorage": [login]}
            options["storage_state"] = {"origins": [origin], "cookies": []}
        settings = {"viewport": {"width": 1100, "height": 700}, "locale": "en-GB", "timezone_id": "UTC", **options}
        context = await self.browser.new_context(**settings)
        return self._add(BrowserUser(await context.new_page(), self.server.url, person))

    def _add(self, user: BrowserUser) -> BrowserUser:
        self._users.append(user)
        return user


class SocketInterceptor:
    """Stands between the websockets of a page and the server: holds back, drops and injects frames."""

    def __init__(self) -> None:
        self.holding: set[int] = set()  # frame types that the page does not get until `release`
        self.held: list[str] = []
        self.drops_sent = False  # what the page sends is lost, until its next connection
        self.sent: list[dict[str, Any]] = []  # what the page has sent, over all connections, lost or not
        self._page: WebSocketRoute
        self._server: WebSocketRoute

    @classmethod
    async def install(cls, user: BrowserUser) -> "SocketInterceptor":
        """Intercept the websockets of a page that is not open yet."""
        interceptor = cls()
        await user.page.route_web_socket(re.compile("/v1/ws"), interceptor.on_connect)
        return interceptor

    def on_connect(self, page: WebSocketRoute) -> None:
        self._page, self._server = page, page.connect_to_server()
        self.drops_sent = False
        page.on_message(self._on_page_message)
        self._server.on_message(self._on_server_message)

    def _on_page_message(self, text: str | bytes) -> None:
        self.sent.append(json.loads(text))
        if not self.drops_sent:
            self._server.send(text)

    def _on_server_message(self, text: str | bytes) -> None:
        if json.loads(text)["type"] in self.holding:
            self.held.append(str(text))
        else:
            self._page.send(text)

    def sent_messages(self, text: str) -> list[dict[str, Any]]:
        """The frames with this message that the page has sent."""
        return [frame for frame in self.sent if frame.get("chatmessage") == text]

    async def wait_until_sent(self, text: str) -> dict[str, Any]:
        await eventually(lambda: bool(self.sent_messages(text)))
        return self.sent_messages(text)[0]

    async def wait_until_held(self, number: int) -> list[str]:
        await eventually(lambda: len(self.held) >= number)
        return self.held

    async def wait_until_held_types(self, types: set[int]) -> None:
        await eventually(lambda: types <= {json.loads(text)["type"] for text in self.held})

    def inject(self, frame: dict[str, Any] | str) -> None:
        """Send a frame to the page as if it came from the server."""
        self._page.send(frame if isinstance(frame, str) else json.dumps(frame))

    def release(self) -> None:
        """Pass on what is held, and hold nothing more."""
        self.holding.clear()
        for text in self.held:
            self._page.send(text)
        self.held.clear()

    def forget(self) -> None:
        """Lose what is held, and hold nothing more."""
        self.holding.clear()
        self.held.clear()

    async def close(self, code: int = SERVICE_RESTART) -> None:
        """Close the websocket on both sides, to the page with this code."""
        await self._page.close(code=code)
        await self._server.close()
