"""devtools/rabbitmq.py, with a real private server beside the one that the other tests use."""

import shutil
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from devtools import processes
from devtools.processes import ProbeResult
from devtools.rabbitmq import DISTRIBUTION_PORT, EPMD_PORT, PORT, SPREAD, PrivateRabbit, probe

pytestmark = pytest.mark.services


@pytest.fixture
def rabbit() -> Iterator[PrivateRabbit]:
    """A server that has never been started."""
    folder = Path(tempfile.mkdtemp(prefix="chat-test-"))
    folder.chmod(0o755)  # the server's user has to enter it; pytest's own folders are closed to other users
    rabbit = PrivateRabbit(folder / "server")
    if rabbit.bin() is None:
        pytest.skip("RabbitMQ is not installed")
    try:
        yield rabbit
    finally:
        rabbit.stop()
        shutil.rmtree(folder)


def test_it_starts_beside_other_servers_answers_and_stops(rabbit: PrivateRabbit) -> None:
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


@pytest.mark.parametrize("first_port", [PORT, DISTRIBUTION_PORT])
def test_another_port_is_taken_if_the_chosen_one_is_lost_before_the_bind(
    rabbit: PrivateRabbit, monkeypatch: pytest.MonkeyPatch, first_port: int
) -> None:
    look = processes.free_port
    lost: list[int] = []

    def overtaken(first: int) -> int:
        """Choose a port that another program takes at once, when this kind of port is chosen for the first time."""
        if first in range(first_port, first_port + SPREAD) and not lost:
            lost.append(first)
            return taken
        return look(first)

    monkeypatch.setattr(processes, "free_port", overtaken)
    with socket.create_server(("127.0.0.1", 0)) as rival:
        taken: int = rival.getsockname()[1]
        rabbit.start()
        assert lost and rabbit.port != taken
        assert probe(rabbit.url) is ProbeResult.ACCEPTED


def test_a_program_that_has_the_port_of_the_former_name_server_holds_nothing_up(rabbit: PrivateRabbit) -> None:
    rabbit.folder.mkdir()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        (rabbit.folder / "epmd-port").write_text(str(silent.getsockname()[1]))
        rabbit.stop()
    assert rabbit.epmd_port == 0
