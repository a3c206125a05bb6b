"""One scratch database and one server with a bot for the whole session; names keep the tests apart."""

from collections.abc import AsyncIterator, Iterator

import hypothesis
import pytest

from chat import config
from chat.config import Settings
from chat.db.pool import Database
from devtools import schema
from tests.support.client import Chat, Person
from tests.support.proxy import Proxy
from tests.support.server import InProcessServer, running_bot, serving
from tests.support.settings import ROOT, settings_for
from tests.support.stock_service import StockService

hypothesis.settings.register_profile("suite", deadline=None)  # a busy machine is no counter-example
hypothesis.settings.load_profile("suite")

MARKERS_BY_FIXTURE = {"browser": "browser", "services": "faults", "proxy": "slow", "short_timeouts": "slow"}


@pytest.hookimpl(tryfirst=True)  # before pytest selects by marker
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests whose fixtures need a browser, services of their own, or a network that fails."""
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
async def chat(settings: Settings) -> AsyncIterator[InProcessServer]:
    """The server that most tests talk to, and its bot."""
    async with serving(settings) as running:
        if settings.uses_memory_broker:
            yield running
        else:
            async with running_bot(settings):
                yield running


@pytest.fixture
async def alice(chat: Chat) -> Person:
    return await chat.sign_up("alice")


@pytest.fixture
async def bob(chat: Chat) -> Person:
    return await chat.sign_up("bob")


@pytest.fixture
async def db(database_url: str) -> AsyncIterator[Database]:
    database = Database(database_url, size=1, name="test")
    await database.open()
    yield database
    await database.close()


@pytest.fixture
async def proxy(database_url: str) -> AsyncIterator[Proxy]:
    """A proxy before PostgreSQL."""
    async with Proxy.before(database_url) as proxy:
        yield proxy
