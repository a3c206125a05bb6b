"""One scratch database, one server with a robot, for the whole session; names keep the tests apart."""

from collections.abc import AsyncIterator, Iterator

import hypothesis
import pytest

from chat import config
from chat.config import Settings
from devtools import schema
from tests.actors import ROOT, Chat, Person, StockService, robots, serving, settings_for

hypothesis.settings.register_profile("suite", deadline=None)  # a busy machine is no counter-example
hypothesis.settings.load_profile("suite")

MARKERS_BY_FIXTURE = {"browser": "browser", "services": "faults"}


@pytest.hookimpl(tryfirst=True)  # before pytest selects by marker
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests whose fixtures need a browser or services of their own."""
    for item in items:
        for fixture, marker in MARKERS_BY_FIXTURE.items():
            if fixture in getattr(item, "fixturenames", ()):
                item.add_marker(marker)


@pytest.fixture(scope="session")
def database_url() -> Iterator[str]:
    """A database of this session's own, made from sql/schema.sql."""
    with schema.scratch(config.load(dotenv=ROOT / ".env").database_url) as url:
        schema.reset(url)
        yield url


@pytest.fixture(scope="session")
async def stocks() -> AsyncIterator[StockService]:
    async with StockService() as service:
        yield service


@pytest.fixture(scope="session")
def settings(database_url: str, stocks: StockService) -> Settings:
    return settings_for(database_url, stock_url=stocks.url, stock_timeout_s=0.5)


@pytest.fixture(scope="session")
async def chat(settings: Settings) -> AsyncIterator[Chat]:
    """The server that most tests talk to, and its robot."""
    async with serving(settings) as running:
        if settings.uses_memory_broker:
            yield running
        else:
            async with robots(settings):
                yield running


@pytest.fixture
async def alice(chat: Chat) -> Person:
    return await chat.sign_up("alice")


@pytest.fixture
async def bob(chat: Chat) -> Person:
    return await chat.sign_up("bob")
