"""`make screenshots`: two pictures for the README, docs/page.png and docs/phone.png, from seeded data."""

import asyncio
from pathlib import Path

from playwright.async_api import async_playwright, expect

from chat import config
from devtools import schema
from tests.actors import ROOT, Chat, Person, StockService, robots, settings_for
from tests.browser.visitor import CHROMIUM, Crowd, House, Visitor, launched, opened

DOCS = ROOT / "docs"
PEOPLE = ("ada", "grace", "linus")
TALK = (
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
        raise SystemExit("there is no Chromium: see tools/browser")
    DOCS.mkdir(exist_ok=True)
    with schema.scratch(config.load(dotenv=ROOT / ".env").database_url) as url:
        schema.reset(url)
        async with StockService() as stocks, opened(settings_for(url, stock_url=stocks.url)) as house:
            if house.settings.uses_memory_broker:
                await take(house)
            else:
                async with robots(house.settings):
                    await take(house)


async def take(house: House) -> None:
    async with Chat(house.url) as chat, async_playwright() as playwright:
        browser = await launched(playwright)
        people = {name: await named(chat, name) for name in PEOPLE}
        ada, grace, linus = people.values()
        room = await ada.creates("Release", "What goes out, and when")
        for name, topic in (("Books", "What we read"), ("Lunch", "Who is hungry?")):
            other = await grace.creates(name, topic)
            await ada.joins(other)
        await linus.joins(room)
        await grace.joins(room)
        for name, text in TALK:
            await people[name].posts(text, room)
        for text in ("Has anybody finished the Kernighan?", "I have."):
            await grace.posts(text, other)
        crowd = Crowd(browser, house, chat)
        path = f"/#/rooms/{room}"
        large = await crowd.guest(person=ada, path=path, viewport={"width": 1080, "height": 800})
        await large.says(COMMAND)
        await expect(large["li.robot"]).to_be_visible()
        await grace.posts("Coffee it is.", room)
        await large.sees("Coffee it is.")
        await shown(large, DOCS / "page.png")
        small = await crowd.guest(
            person=linus, path=path, viewport={"width": 375, "height": 700}, device_scale_factor=2, color_scheme="dark"
        )
        await shown(small, DOCS / "phone.png")
        await crowd.leaves()
        await browser.close()


async def named(chat: Chat, username: str) -> Person:
    body = {"username": username, "email": f"{username}@example.com", "password": "correct horse"}
    return Person(chat, await chat.asks("POST", "/v1/auth/signup", body, 201))


async def shown(visitor: Visitor, path: Path) -> None:
    await expect(visitor.message("Coffee it is.")).to_be_in_viewport()
    await visitor["body"].evaluate("() => document.activeElement.blur()")
    await visitor.page.screenshot(path=path)
    print(f"{path.relative_to(ROOT)}: {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    asyncio.run(main())
