"""The fault run in its short form: ten faults, in an order that the seed in the output decides."""

import os
import random

import pytest

from tests.faults.cluster import LONG, Services, two_servers
from tests.faults.run import play, table

FAULTS, FRAMES = 10, 2_000
HELD = 1.0 if LONG else 0.3  # of the time for which the fault run holds its faults


@pytest.mark.timeout(300)
async def test_nothing_is_lost_doubled_or_out_of_order(services: Services) -> None:
    seed = int(os.environ.get("SEED") or random.randrange(10**9))
    print(f"SEED={seed}")
    async with two_servers(services, resume_max_events=300, db_pool_size=6) as servers:
        result = await play(services, servers, seed, FAULTS, frames=FRAMES, held=HELD)
        logs = "".join(server.log.read_text() for server in servers)
    print(table([result]))
    assert result.wrong == [], logs[-5000:]
    assert result.acked > FRAMES / 20
    assert min(result.joins, result.leaves, result.visits) > 10
    assert "Traceback" not in logs
