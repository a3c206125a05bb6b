"""devtools/rabbitmq.py: a private server of our own, a real one, beside the one that the other tests use."""

import shutil
import tempfile
from pathlib import Path

import pytest

from devtools import processes as machine
from devtools.processes import Answer
from devtools.rabbitmq import EPMD_PORT, PrivateRabbit, probe


def test_it_starts_beside_others_answers_and_stops() -> None:
    folder = Path(tempfile.mkdtemp(prefix="chat-test-"))
    folder.chmod(0o755)  # the server's user goes through here; pytest's own folders are closed to it
    rabbit = PrivateRabbit(folder / "server")
    if rabbit.bin() is None:
        pytest.skip("RabbitMQ is not installed")
    try:
        rabbit.start()
        assert rabbit.is_running()
        assert probe(rabbit.url) is Answer.GOOD
        assert probe(rabbit.url.replace("chat:", "chat:not")) is Answer.REFUSED
        assert probe(f"amqp://guest:guest@127.0.0.1:{rabbit.port}/") is Answer.REFUSED
        names = int((folder / "server" / "epmd-port").read_text())
        assert names >= EPMD_PORT
        rabbit.stop()
        assert not rabbit.is_running()
        assert probe(rabbit.url) is Answer.SILENT
        assert machine.wait_until(lambda: not machine.listens("127.0.0.1", names), 5)
    finally:
        rabbit.stop()
        shutil.rmtree(folder)
