"""devtools/rabbitmq.py, with a real private server beside the one that the other tests use."""

import shutil
import tempfile
from pathlib import Path

import pytest

from devtools import processes
from devtools.processes import ProbeResult
from devtools.rabbitmq import EPMD_PORT, PrivateRabbit, probe


@pytest.mark.services
def test_it_starts_beside_other_servers_answers_and_stops() -> None:
    folder = Path(tempfile.mkdtemp(prefix="chat-test-"))
    folder.chmod(0o755)  # the server's user has to enter it; pytest's own folders are closed to other users
    rabbit = PrivateRabbit(folder / "server")
    if rabbit.bin() is None:
        pytest.skip("RabbitMQ is not installed")
    try:
        rabbit.start()
        assert rabbit.is_running()
        assert probe(rabbit.url) is ProbeResult.ACCEPTED
        assert probe(rabbit.url.replace("chat:", "chat:not")) is ProbeResult.REFUSED
        assert probe(f"amqp://guest:guest@127.0.0.1:{rabbit.port}/") is ProbeResult.REFUSED
        epmd_port = rabbit.epmd_port
        assert epmd_port >= EPMD_PORT
        rabbit.stop()
        assert not rabbit.is_running()
        assert probe(rabbit.url) is ProbeResult.SILENT
        assert processes.wait_until(lambda: not processes.listens("127.0.0.1", epmd_port), 5)
    finally:
        rabbit.stop()
        shutil.rmtree(folder)
