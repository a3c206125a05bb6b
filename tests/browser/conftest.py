"""One browser for all tests, and a server of their own, which they may kill."""

from collections.abc import AsyncIterator

import pytest
from playwright.async_api import Browser, async_playwright

from chat.config import Settings
from tests.browser.browser_user import AXE, CHROMIUM, BrowserUsers, RestartableServer, launch_browser, running_server
from tests.support.client import Chat
from tests.support.server import running_bot
from tests.support.settings import settings_for
from tests.support.stock_service import StockService


@pytest.fixture(scope="session")
async def browser() -> AsyncIterator[Browser]:
    if not CHROMIUM:
        pytest.skip("Chromium is missing, and tools/browser could not install it.")
    async with async_playwright() as playwright:
        running = await launch_browser(playwright)
        yield running
        await running.close()


@pytest.fixture(scope="session")
async def server(browser: Browser, database_url: str, stocks: StockService) -> AsyncIterator[RestartableServer]:
    settings: Settings = settings_for(database_url, stock_url=stocks.url)
    async with running_server(settings) as running:
        if settings.uses_memory_broker:
            yield running
        else:
            async with running_bot(settings):
                yield running


@pytest.fixture
async def users(browser: Browser, server: RestartableServer) -> AsyncIterator[BrowserUsers]:
    async with Chat(server.url) as chat:
        everyone = BrowserUsers(browser, server, chat)
        yield everyone
        await everyone.close()


@pytest.fixture
def axe() -> None:
    if not AXE.exists():
        pytest.skip("axe-core is missing, and tools/browser could not install it.")
