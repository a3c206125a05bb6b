"""The page's files and their headers; tests/browser has what they do."""

import re

import aiohttp
import pytest

from chat.http.static_files import FILES, WEB
from tests.support.client import Chat


@pytest.mark.parametrize("path", ["/", "/web/main.js", "/web/style.css", "/web/favicon.svg"])
async def test_files_come_with_strict_headers(chat: Chat, path: str) -> None:
    async with chat.http.get(path) as response:
        assert response.status == 200
        headers = response.headers
    policy = dict(part.split(" ", 1) for part in headers["Content-Security-Policy"].split("; "))
    assert policy["default-src"] == policy["frame-ancestors"] == policy["base-uri"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert "unsafe" not in headers["Content-Security-Policy"]
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["Cache-Control"] == "no-cache"


@pytest.mark.parametrize(
    ("name", "kind"), [("main.js", "text/javascript"), ("style.css", "text/css"), ("favicon.svg", "image/svg+xml")]
)
async def test_types_are_declared_and_not_guessed(chat: Chat, name: str, kind: str) -> None:
    async with chat.http.get(f"/web/{name}") as response:
        assert response.headers["Content-Type"] == f"{kind}; charset=utf-8"


async def test_an_unchanged_file_is_not_sent_again(chat: Chat) -> None:
    async with chat.http.get("/web/main.js") as first:
        etag = first.headers["ETag"]
    async with chat.http.get("/web/main.js", headers={"If-None-Match": etag}) as second:
        assert second.status == 304
        assert not await second.read()
        assert second.headers["Cache-Control"] == "no-cache"


@pytest.mark.parametrize("name", ["nothing.js", "..%2fpage.py", "%2e%2e/app.py", ".env", "main.js%00", "MAIN.JS", ""])
async def test_nothing_else_is_served(chat: Chat, name: str) -> None:
    async with chat.http.get(f"/web/{name}") as response:
        assert response.status == 404
        assert (await response.json())["error"]["code"] == "not_found"


async def test_head_is_answered(chat: Chat) -> None:
    async with chat.http.head("/") as response:
        assert response.status == 200
        assert int(response.headers["Content-Length"]) == FILES["index.html"].stat().st_size


def test_every_file_is_in_the_table() -> None:
    assert {path.name for path in WEB.iterdir()} == set(FILES)


def test_the_page_has_nothing_inline_and_no_address_elsewhere() -> None:
    for path in FILES.values():
        text = path.read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
        assert not re.search(r"""["'(]\s*(https?:)?//\w""", text), path.name
        assert "innerHTML" not in text and "eval(" not in text
    page = FILES["index.html"].read_text(encoding="utf-8")
    assert not re.search(r"\s(on\w+|style)=|<style|<script(?! type=\"module\" src=)", page)


def test_every_element_that_the_scripts_look_for_is_in_the_page() -> None:
    page = FILES["index.html"].read_text(encoding="utf-8")
    there = set(re.findall(r'\bid="([\w-]+)"', page))
    by_id = r'(?:\$|listen|setText|setTextOrHide)\("([\w-]+)"'
    for path in FILES.values():
        if path.suffix == ".js":
            assert set(re.findall(by_id, path.read_text(encoding="utf-8"))) <= there, path.name


async def test_a_foreign_page_cannot_open_a_websocket(chat: Chat) -> None:
    with pytest.raises(aiohttp.WSServerHandshakeError, match="403"):
        await chat.http.ws_connect("/v1/ws", headers={"Origin": "https://evil.example"})
