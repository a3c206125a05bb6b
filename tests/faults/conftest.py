"""Services of the fault tests' own: whatever is done to them, nothing else is hurt."""

from collections.abc import AsyncIterator, Iterator

import pytest

from tests.actors import Chat
from tests.faults.stage import Server, Services, private_services, two_servers


@pytest.fixture(scope="session")
def services() -> Iterator[Services]:
    with private_services() as started:
        yield started


@pytest.fixture(scope="session")
async def servers(services: Services) -> AsyncIterator[tuple[Server, Server]]:
    """Two servers as they are by default, apart from a quicker heartbeat; nobody ends them."""
    async with two_servers(services, ping_interval_s=2.0, ping_timeout_s=1.0) as pair:
        yield pair


@pytest.fixture
async def here(servers: tuple[Server, Server]) -> AsyncIterator[Chat]:
    async with Chat(servers[0].url) as chat:
        yield chat


@pytest.fixture
async def there(servers: tuple[Server, Server]) -> AsyncIterator[Chat]:
    async with Chat(servers[1].url) as chat:
        yield chat
