"""chat/http/error_middleware.py: the one form of errors, and log lines that keep secrets."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from secrets import token_urlsafe

import aiohttp
import pytest
from aiohttp import web

from chat import cli
from chat.app import make_app
from chat.errors import Conflict, RateLimited
from chat.http.access_log import AccessLogger, redact_malformed_request
from chat.http.error_middleware import error_middleware
from tests.support.client import GENERAL, Chat
from tests.support.names import unique
from tests.support.settings import settings_for
from tests.support.waiting import eventually

# --- the one form of errors ---------------------------------------------------------------------------


async def fails(request: web.Request) -> web.Response:
    raise RuntimeError("a detail that no client should see")


async def refuses(request: web.Request) -> web.Response:
    raise Conflict("The name is taken.", code="name_taken")


async def limits(request: web.Request) -> web.Response:
    raise RateLimited("Send more slowly.", retry_ms=2000)


async def breaks_off(request: web.Request) -> web.Response:
    raise asyncio.CancelledError  # as aiopg does, when it is the server that cancels


async def redirects(request: web.Request) -> web.Response:
    raise web.HTTPFound("/elsewhere")


async def teapot(request: web.Request) -> web.Response:
    raise web.HTTPPreconditionFailed(text="not so")


@asynccontextmanager
async def serving(app: web.Application) -> AsyncIterator[Chat]:
    """A server with the access lines of the real one."""
    runner = web.AppRunner(
        app,
        access_log=logging.getLogger("chat.access"),
        access_log_class=AccessLogger,
        keepalive_timeout=1,
        shutdown_timeout=1,
    )
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        async with Chat(f"http://127.0.0.1:{runner.addresses[0][1]}") as chat:
            yield chat
    finally:
        await runner.cleanup()


@pytest.fixture(scope="module")
async def small() -> AsyncIterator[Chat]:
    """An application of handlers that fail, each in its way."""
    app = web.Application(middlewares=[error_middleware])
    app.add_routes([web.get(f"/{each.__name__}", each) for each in (fails, refuses, limits, redirects, teapot)])
    app.add_routes([web.get("/breaks_off", breaks_off)])
    async with serving(app) as chat:
        yield chat


@pytest.mark.parametrize(
    ("path", "status", "code", "message"),
    [
        ("/fails", 500, "internal", "Something went wrong in the server. It has been logged."),
        ("/refuses", 409, "name_taken", "The name is taken."),
        ("/limits", 429, "rate_limited", "Send more slowly."),
        ("/breaks_off", 503, "unavailable", "The request was interrupted. Try again."),
        ("/teapot", 412, "bad_request", "not so"),
        ("/nowhere", 404, "not_found", "There is nothing at /nowhere. docs/api.md has the table of addresses."),
    ],
)
async def test_every_error_leaves_in_one_form(small: Chat, path: str, status: int, code: str, message: str) -> None:
    async with small.http.get(path) as response:
        assert (response.status, response.content_type) == (status, "application/json")
        assert await response.json() == {"error": {"code": code, "message": message}}


async def test_headers_of_an_error_go_with_it(small: Chat) -> None:
    async with small.http.get("/limits") as response:
        assert response.headers["Retry-After"] == "2"
    async with small.http.post("/limits") as response:
        assert (response.status, response.headers["Allow"]) == (405, "GET, HEAD")


async def test_a_redirect_passes_unchanged(small: Chat) -> None:
    async with small.http.get("/redirects", allow_redirects=False) as response:
        assert (response.status, response.headers["Location"]) == (302, "/elsewhere")


@pytest.mark.parametrize("path", ["/fails", "/breaks_off"])
async def test_the_unexpected_is_logged_once_with_its_stack(
    small: Chat, caplog: pytest.LogCaptureFixture, path: str
) -> None:
    async with small.http.get(f"{path}?token=hush"):
        pass
    (record,) = [each for each in caplog.records if each.levelno >= logging.WARNING]
    assert record.name == "chat.http.error_middleware"
    assert record.exc_info and record.exc_info[2]
    assert f"GET {path}" in record.getMessage()
    assert "hush" not in caplog.text


async def test_a_refusal_logs_the_access_line_alone(small: Chat, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"):
        async with small.http.get("/refuses"):
            pass
        await eventually(lambda: bool(caplog.records))
    assert [each.name for each in caplog.records] == ["chat.access"]


# --- access lines -------------------------------------------------------------------------------------


async def line_of(chat: Chat, caplog: pytest.LogCaptureFixture, request: bytes) -> str:
    """The last line of the log when a request was answered that is sent as it stands here."""
    port = int(chat.base_url.rpartition(":")[2])
    caplog.clear()
    with caplog.at_level("INFO"):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(request)
        await reader.read()
        writer.close()
        await writer.wait_closed()
        await eventually(lambda: any(each.name == "chat.access" for each in caplog.records))
    return caplog.records[-1].getMessage()


async def test_an_access_line_has_no_query(small: Chat, caplog: pytest.LogCaptureFixture) -> None:
    line = await line_of(small, caplog, b"GET /refuses?token=hush HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
    assert line.startswith("127.0.0.1 GET /refuses 409 ")
    assert line.endswith(" ms")


async def test_a_path_cannot_forge_a_line(small: Chat, caplog: pytest.LogCaptureFixture) -> None:
    line = await line_of(small, caplog, b"GET /x%0A%0Dforged HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
    assert line.startswith("127.0.0.1 GET /x%0A%0Dforged 404 ")


@pytest.mark.parametrize(
    "request_",
    [
        b"GET /v1/ws?token=hush HTTP/9.9.9\r\nHost: h\r\n\r\n",
        b"GET /v1/ws?token=hush\x00 HTTP/1.1\r\nHost: h\r\n\r\n",
        b"GET http://[h?token=hush HTTP/1.1\r\nHost: h\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer hush\x00\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nhush\r\n",
    ],
)
async def test_what_is_not_http_is_logged_without_its_words(
    small: Chat, caplog: pytest.LogCaptureFixture, request_: bytes
) -> None:
    server = logging.getLogger("aiohttp.server")
    server.addFilter(redact_malformed_request)
    try:
        await line_of(small, caplog, request_)
    finally:
        server.removeFilter(redact_malformed_request)
    assert "not HTTP" in caplog.text
    assert "hush" not in caplog.text


@pytest.mark.parametrize("error", [None, RuntimeError("x")])
def test_other_records_of_aiohttp_stay_as_they_are(error: RuntimeError | None) -> None:
    trace = (RuntimeError, error, None) if error else None
    record = logging.LogRecord("aiohttp.server", logging.ERROR, "f", 1, "%s", ("x",), trace)
    assert redact_malformed_request(record)
    assert (record.getMessage(), record.levelno, record.exc_info) == ("x", logging.ERROR, trace)


# --- secrets ------------------------------------------------------------------------------------------


@pytest.fixture
def everything() -> Iterator[list[str]]:
    """Whatever is logged with LOG_LEVEL=DEBUG, as it would be printed."""
    lines: list[str] = []

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(self.format(record))

    listener, root = Listener(), logging.getLogger()
    before = {name: logging.getLogger(name).level for name in (None, *root.manager.loggerDict)}
    root.addHandler(listener)
    cli.log_to_stderr("DEBUG")
    root.setLevel(logging.DEBUG)
    yield lines
    root.removeHandler(listener)
    for name, level in before.items():
        logging.getLogger(name).setLevel(level)


@pytest.mark.slow
async def test_no_line_has_a_token_a_password_or_a_message(
    database_url: str, everything: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    password, text, name = f"pass-{token_urlsafe(12)}", f"text-{token_urlsafe(12)}", unique("quiet")
    account = {"username": name, "email": f"{name}@example.com", "password": password}
    async with serving(make_app(settings_for(database_url))) as chat:
        session = await chat.asks("POST", "/v1/auth/signup", account, 201)
        await chat.asks("POST", "/v1/auth/signup", account, 409)
        await chat.asks("POST", "/v1/auth/login", {**account, "password": password + "!"}, 401)
        token = (await chat.asks("POST", "/v1/auth/login", account))["token"]
        headers = {"Authorization": f"Bearer {token}"}
        path = f"/v1/chat/rooms/{GENERAL}/messages"
        await chat.asks("POST", path, {"chatmessage": text}, 201, headers=headers)
        await chat.asks("POST", path, {"chatmessage": text + "\x00"}, 400, headers=headers)
        await chat.asks("POST", path, {"chatmessage": text, "requestId": text * 9}, 400, headers=headers)
        await chat.asks("POST", path, {"chatmessage": f"/unheard={text}"}, 400, headers=headers)
        async with chat.http.post(path, json={"chatmessage": f"/stock={text}"}, headers=headers) as response:
            assert response.status in (202, 503)  # there is no bot unless it runs in the server
        for protocols, query in (("chat.v2", f"bearer.{token}"), ""), ((), f"?token={token}"), ((), f"?jwt={token}"):
            async with chat.http.ws_connect(f"/v1/ws{query}", protocols=protocols) as ws:
                for frame in (
                    {"type": 1, "chatroomId": GENERAL, "chatmessage": text},
                    {"type": 99, "chatmessage": text},
                    {"type": 1, "chatroomId": 999_999, "chatmessage": text, "requestId": "12345678"},
                ):
                    await ws.send_json(frame)
                while "12345678" not in (await ws.receive_str()):
                    pass
        with pytest.raises(aiohttp.WSServerHandshakeError):
            await chat.http.ws_connect(f"/v1/ws?token={token}x")

        async def breaks(*_: object, **__: object) -> None:
            raise RuntimeError("x")

        monkeypatch.setattr("chat.domain.accounts.get", breaks)
        await chat.asks("GET", f"/v1/users/me?token={token}", None, 500, headers=headers)
    logged = "\n".join(everything)
    assert "POST /v1/auth/login 200" in logged and "GET /v1/ws 101" in logged and f"POST {path} 201" in logged
    for secret in (password, text, token, session["token"], json.dumps(text)):
        assert secret not in logged
