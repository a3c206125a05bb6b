"""Private services for the fault tests, so that breaking them affects nothing else."""

from collections.abc import AsyncIterator, Iterator

import pytest

from tests.faults.cluster import ServerPair, Services, private_services, two_servers
from tests.support.client import Chat


@pytest.fixture(scope="session")
def services() -> Iterator[Services]:
    with private_services() as started:
        yield started


@pytest.fixture(scope="session")
async def servers(services: Services) -> AsyncIterator[ServerPair]:
    """Two servers as they are by default, apart from shorter ping times. No test may end them."""
    async with two_servers(services, ping_interval_s=2.0, ping_timeout_s=1.0) as pair:
        yield pair


@pytest.fixture
async def here(servers: ServerPair) -> AsyncIterator[Chat]:
    async with Chat(servers[0].url) as chat:
        yield chat


@pytest.fixture
async def there(servers: ServerPair) -> AsyncIterator[Chat]:
    async with Chat(servers[1].url) as chat:
        yield chat
