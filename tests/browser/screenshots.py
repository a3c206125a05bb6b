"""`make screenshots`: the two pictures of the README, docs/page.png and docs/phone.png."""

import asyncio
from pathlib import Path

from playwright.async_api import async_playwright, expect

from chat import config
from devtools import schema
from tests.browser.browser_user import (
    CHROMIUM,
    BrowserUser,
    BrowserUsers,
    RestartableServer,
    launch_browser,
    running_server,
)
from tests.support.client import Chat, Person
from tests.support.server import running_bot
from tests.support.settings import ROOT, settings_for
from tests.support.stock_service import StockService

DOCS = ROOT / "docs"
USERNAMES = ("ada", "grace", "linus")
CONVERSATION = (
    ("grace", "Morning! The release notes are at https://example.com/notes, please have a look."),
    ("linus", "Reading."),
    ("linus", "“Nothing is lost, nothing comes twice.” Bold. Did anybody pull the plug while it ran?"),
    ("ada", "Twice. It came back by itself, and my message was there once."),
    ("grace", "And the broker?"),
    ("ada", "Off for ten minutes.\nChat went on, half a second late."),
    ("linus", "Then I owe you both a coffee. Is it a good day for that?"),
)
COMMAND = "/stock=AAPL.US"


async def main() -> None:
    if not CHROMIUM:
        raise SystemExit("Chromium is missing: run tools/browser first.")
    DOCS.mkdir(exist_ok=True)
    with schema.scratch(config.load(dotenv=ROOT / ".env").database_url) as url:
        schema.reset(url)
        async with StockService() as stocks, running_server(settings_for(url, stock_url=stocks.url)) as server:
            if server.settings.uses_memory_broker:
                await take_pictures(server)
            else:
                async with running_bot(server.settings):
                    await take_pictures(server)


async def take_pictures(server: RestartableServer) -> None:
    async with Chat(server.url) as chat, async_playwright() as playwright:
        browser = await launch_browser(playwright)
        persons = {name: await sign_up(chat, name) for name in USERNAMES}
        ada, grace, linus = persons.values()
        room = await ada.creates("Release", "What goes out, and when")
        for name, topic in (("Books", "What we read"), ("Lunch", "Who is hungry?")):
            other = await grace.creates(name, topic)
            await ada.joins(other)
        await linus.joins(room)
        await grace.joins(room)
        for name, text in CONVERSATION:
            await persons[name].posts(text, room)
        for text in ("Has anybody finished the Kernighan?", "I have."):
            await grace.posts(text, other)
        users = BrowserUsers(browser, server, chat)
        path = f"/#/rooms/{room}"
        large = await users.in_chat(person=ada, path=path, viewport={"width": 1080, "height": 800})
        await large.says(COMMAND)
        await expect(large["li.bot"]).to_be_visible()
        await grace.posts("Coffee it is.", room)
        await large.sees("Coffee it is.")
        await save_picture(large, DOCS / "page.png")
        small = await users.in_chat(
            person=linus, path=path, viewport={"width": 375, "height": 700}, device_scale_factor=2, color_scheme="dark"
        )
        await save_picture(small, DOCS / "phone.png")
        await users.close()
        await browser.close()


async def sign_up(chat: Chat, username: str) -> Person:
    body = {"username": username, "email": f"{username}@example.com", "password": "correct horse"}
    return Person(chat, await chat.asks("POST", "/v1/auth/signup", body, 201))


async def save_picture(user: BrowserUser, path: Path) -> None:
    await expect(user.message("Coffee it is.")).to_be_in_viewport()
    await user["body"].evaluate("() => document.activeElement.blur()")
    await user.page.screenshot(path=path)
    print(f"{path.relative_to(ROOT)}: {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    asyncio.run(main())
