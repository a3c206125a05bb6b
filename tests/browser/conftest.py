"""A house with a server of its own, which tests may pull down, and a browser for everybody."""

from collections.abc import AsyncIterator

import pytest
from playwright.async_api import Browser, async_playwright

from chat.config import Settings
from tests.actors import Chat, StockService, robots, settings_for
from tests.browser.visitor import AXE, CHROMIUM, Crowd, House, launched, opened


@pytest.fixture(scope="session")
async def browser() -> AsyncIterator[Browser]:
    if not CHROMIUM:
        pytest.skip("there is no Chromium, and apt-get may not install one: see tools/browser")
    async with async_playwright() as playwright:
        running = await launched(playwright)
        yield running
        await running.close()


@pytest.fixture(scope="session")
async def house(browser: Browser, database_url: str, stocks: StockService) -> AsyncIterator[House]:
    settings: Settings = settings_for(database_url, stock_url=stocks.url)
    async with opened(settings) as running:
        if settings.uses_memory_broker:
            yield running
        else:
            async with robots(settings):
                yield running


@pytest.fixture
async def crowd(browser: Browser, house: House) -> AsyncIterator[Crowd]:
    async with Chat(house.url) as chat:
        everybody = Crowd(browser, house, chat)
        yield everybody
        await everybody.leaves()


@pytest.fixture
def axe() -> None:
    if not AXE.exists():
        pytest.skip("there is no axe-core, and npm may not install it: see tools/browser")
