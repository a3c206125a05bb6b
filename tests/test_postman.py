"""postman/: the collection runs against the server, and has every address in it."""

import asyncio
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from aiohttp import web

from chat.http.routes import ROUTES
from tests.support.client import Chat
from tests.support.settings import ROOT

COLLECTION = ROOT / "postman" / "chat.postman_collection.json"
NEWMAN = ROOT / ".node" / "node_modules" / ".bin" / "newman"
WRONG_ON_PURPOSE = {("GET", "/v1/nowhere"), ("PATCH", "/v1/chat/rooms")}


def requests(folder: Any = None) -> Iterator[Any]:
    """The items of the collection that are requests, in their order."""
    for item in (folder or json.loads(COLLECTION.read_text(encoding="utf-8")))["item"]:
        if "item" in item:
            yield from requests(item)
        else:
            yield item


def pattern(route: web.RouteDef) -> re.Pattern[str]:
    """What the paths of a route look like, when each variable of the collection stands for a number."""
    return re.compile(re.sub(r"\{\w+(?::([^{}]*(?:\{[^{}]*\})?[^{}]*))?\}", lambda hit: hit[1] or "[^/]+", route.path))


@pytest.mark.slow
@pytest.mark.skipif(not NEWMAN.exists(), reason="newman is not installed: run tools/newman, which needs node and npm")
async def test_newman_finds_nothing_wrong(chat: Chat) -> None:
    newman = await asyncio.create_subprocess_exec(
        NEWMAN,
        "run",
        COLLECTION,
        *("--env-var", f"baseUrl={chat.base_url}", "--color", "off", "--timeout-request", "10000"),
        *("--reporters", "cli", "--reporter-cli-no-banner", "--reporter-cli-no-success-assertions"),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await asyncio.wait_for(newman.communicate(), 50)
    assert newman.returncode == 0, output.decode()


def test_every_address_is_in_the_collection() -> None:
    routes = [route for route in ROUTES if isinstance(route, web.RouteDef)]
    assert len(routes) == len(ROUTES)
    requested = set()
    for item in requests():
        path = item["request"]["url"]["raw"].removeprefix("{{baseUrl}}").partition("?")[0]
        requested.add((item["request"]["method"], re.sub(r"\{\{\w+\}\}", "7", path)))
    for route in routes:
        found = {
            (method, path) for method, path in requested if method == route.method and pattern(route).fullmatch(path)
        }
        assert found, f"{route.method} {route.path} is not in the collection"
        requested -= found
    assert requested == WRONG_ON_PURPOSE


def test_every_request_is_tested_and_nothing_is_pasted() -> None:
    for item in requests():
        scripts = {event["listen"]: "\n".join(event["script"]["exec"]) for event in item["event"]}
        assert "pm.test(" in scripts["test"], item["name"]
        assert "status(" in scripts["test"], item["name"]
    text = COLLECTION.read_text(encoding="utf-8")
    assert "eyJ" not in text  # how every token begins
    assert text.count("http://localhost") == 2  # the variable's value, and where it is explained


def test_every_variable_is_declared() -> None:
    text = COLLECTION.read_text(encoding="utf-8")
    declared = {each["key"] for each in json.loads(text)["variable"]}
    used = set(re.findall(r"\{\{(\w+)\}\}", text)) | set(re.findall(r'collectionVariables\.\w+\(\\"(\w+)', text))
    assert used - {"huge"} == declared
