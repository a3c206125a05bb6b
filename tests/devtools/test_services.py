"""devtools/services.py: which PostgreSQL and RabbitMQ are taken, and what is remembered."""

import fcntl
import socket
import stat
import threading
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from chat.config import read_dotenv
from devtools import packages as programs
from devtools import postgres, rabbitmq, services
from devtools import processes as machine
from devtools.processes import Answer, NotStarted
from devtools.services import Checkout, Need

USUAL = "amqp://guest:guest@127.0.0.1:5672/"
OURS = "amqp://chat:secret@127.0.0.1:5673/"
THEIRS = "amqp://them:secret@mq.example.com:5672/"


@dataclass
class Server:
    """A private server that only says what was done to it."""

    url: str = OURS
    log: Path = Path("log")
    created: bool = False
    running: bool = False
    installed: bool = True
    answers: dict[str, Answer] = field(default_factory=dict)

    def exists(self) -> bool:
        return self.created

    def is_running(self) -> bool:
        return self.running

    def bin(self) -> Path | None:
        return Path("/somewhere") if self.installed else None

    def start(self) -> None:
        self.created = self.running = True
        self.answers[self.url] = Answer.GOOD

    def stop(self) -> None:
        self.running = False

    def probe(self, url: str) -> Answer:
        return self.answers.get(url, Answer.SILENT)


def needing(server: Server, setting: str = "AMQP_URL", usual: str = USUAL) -> Need:
    return Need("RabbitMQ", setting, usual, server.probe, server, "rabbitmq", "p", ("u",), lambda: "local:")


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Checkout:
    """An empty working directory, on a machine without docker, with nothing in the environment."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(programs, "can_install", lambda: False)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    (tmp_path / "bin").mkdir()
    for name in ("DATABASE_URL", "AMQP_URL", "AMQP_PREFIX", "JWT_SECRET"):
        monkeypatch.delenv(name, raising=False)
    return Checkout(tmp_path)


def docker(checkout: Checkout, body: str) -> Path:
    """A docker on PATH; returns the file into which it writes how it was called."""
    program, calls = checkout.dotenv.parent / "bin" / "docker", checkout.dotenv.parent / "calls"
    program.write_text(f'#!/bin/sh\necho "$RABBITMQ_PORT $@" >> {calls}\n{body}\n')
    program.chmod(0o755)
    return calls


def test_a_named_server_that_answers_is_taken(checkout: Checkout) -> None:
    server = Server(answers={THEIRS: Answer.GOOD, USUAL: Answer.GOOD})
    assert services.settle(needing(server), THEIRS, checkout) == THEIRS
    assert not server.created


@pytest.mark.parametrize("answer", [Answer.SILENT, Answer.REFUSED])
def test_a_named_server_that_does_not_answer_is_an_error_that_says_what_to_do(
    checkout: Checkout, answer: Answer
) -> None:
    with pytest.raises(NotStarted, match=r"mq\.example\.com.*AMQP_URL.*Start it or correct") as caught:
        services.settle(needing(Server(answers={THEIRS: answer})), THEIRS, checkout)
    assert "secret" not in str(caught.value)


def test_a_named_server_of_ours_is_started_again(checkout: Checkout) -> None:
    server = Server(created=True)
    assert services.settle(needing(server), OURS, checkout) == OURS
    assert server.running


def test_the_broker_inside_the_process_needs_nothing(checkout: Checkout) -> None:
    assert services.settle(needing(Server(answers={USUAL: Answer.GOOD})), "local:", checkout) == "local:"


def test_what_listens_on_the_standard_port_is_taken(checkout: Checkout) -> None:
    server = Server(created=True, answers={USUAL: Answer.GOOD})
    assert services.settle(needing(server), None, checkout) == USUAL
    assert not server.running


def test_what_refuses_us_on_the_standard_port_is_left_alone(
    checkout: Checkout, capsys: pytest.CaptureFixture[str]
) -> None:
    assert services.settle(needing(Server(answers={USUAL: Answer.REFUSED})), None, checkout) == OURS
    assert "left alone" in capsys.readouterr().out


def test_docker_compose_comes_before_a_new_private_server(checkout: Checkout) -> None:
    calls = docker(checkout, "exit 0")
    with socket.create_server(("127.0.0.1", 0)) as foreign:
        taken = foreign.getsockname()[1]
        free = machine.free_port(taken)
        usual, url = (f"amqp://guest:guest@127.0.0.1:{port}/" for port in (taken, free))
        server = Server(answers={usual: Answer.REFUSED, url: Answer.GOOD})
        assert services.settle(needing(server, usual=usual), None, checkout) == url
    assert f"{free} compose up --detach --wait rabbitmq" in calls.read_text()
    assert checkout.compose.started == ["rabbitmq"]
    assert read_dotenv(checkout.dotenv) == {"RABBITMQ_PORT": str(free)}


def test_a_client_without_an_engine_is_not_docker(checkout: Checkout) -> None:
    calls = docker(checkout, "exit 1")
    assert services.settle(needing(Server()), None, checkout) == OURS
    assert "compose" not in calls.read_text()


def test_when_docker_compose_fails_a_private_server_is_started(checkout: Checkout) -> None:
    docker(checkout, '[ "$1" = info ]')
    assert services.settle(needing(Server()), None, checkout) == OURS
    assert checkout.compose.started == []


def test_an_earlier_private_server_comes_before_docker_compose(checkout: Checkout) -> None:
    calls = docker(checkout, "exit 0")
    assert services.settle(needing(Server(created=True)), None, checkout) == OURS
    assert not calls.exists()


def test_root_installs_what_is_missing(checkout: Checkout, monkeypatch: pytest.MonkeyPatch) -> None:
    server = Server(installed=False)

    def install(package: str, units: object, log: Path) -> bool:
        server.installed = True
        return True

    monkeypatch.setattr(programs, "can_install", lambda: True)
    monkeypatch.setattr(programs, "install", install)
    assert services.settle(needing(server), None, checkout) == OURS


def test_with_nothing_at_all_there_is_the_last_resort(checkout: Checkout) -> None:
    assert services.settle(needing(Server(installed=False)), None, checkout) == "local:"


def test_dotenv_is_written_once_and_kept(checkout: Checkout, monkeypatch: pytest.MonkeyPatch) -> None:
    database = Server("postgresql://chat:secret@127.0.0.1:5433/chat")
    broker = Server()
    needs = [needing(database, "DATABASE_URL", postgres.URL), needing(broker)]
    monkeypatch.setattr(Checkout, "needs", lambda _: needs)
    services.up()
    written = checkout.dotenv.read_text()
    assert stat.S_IMODE(checkout.dotenv.stat().st_mode) == 0o600
    settings = read_dotenv(checkout.dotenv)
    assert settings.keys() == {"DATABASE_URL", "AMQP_URL", "JWT_SECRET"}
    assert settings["DATABASE_URL"] == database.url
    assert len(settings["JWT_SECRET"].encode()) >= 32

    database.answers.clear()
    services.up()
    assert checkout.dotenv.read_text() == written

    services.down()
    assert not database.running
    assert not broker.running


def test_what_stands_in_dotenv_and_the_environment_is_not_written_again(
    checkout: Checkout, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkout.dotenv.write_text("PORT=9000\nJWT_SECRET=mine")
    monkeypatch.setenv("AMQP_URL", THEIRS)
    broker = Server(answers={THEIRS: Answer.GOOD})
    needs = [needing(Server("postgresql://ours"), "DATABASE_URL", postgres.URL), needing(broker)]
    monkeypatch.setattr(Checkout, "needs", lambda _: needs)
    services.up()
    assert checkout.dotenv.read_text() == "PORT=9000\nJWT_SECRET=mine\nDATABASE_URL=postgresql://ours\n"


def test_a_shared_broker_with_a_database_of_our_own_gets_a_prefix(
    checkout: Checkout, monkeypatch: pytest.MonkeyPatch
) -> None:
    broker = Server(answers={rabbitmq.URL: Answer.GOOD})
    needs = [needing(Server("postgresql://ours"), "DATABASE_URL", postgres.URL), needing(broker)]
    monkeypatch.setattr(Checkout, "needs", lambda _: needs)
    services.up()
    assert read_dotenv(checkout.dotenv)["AMQP_PREFIX"] == f"chat-{checkout.id}."


def test_a_second_start_waits_for_the_first(
    checkout: Checkout, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Checkout, "needs", lambda _: [])
    with (checkout.services / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        said = threading.Event()
        monkeypatch.setattr(services, "say", lambda text: said.set() if "waiting" in text else None)
        second = threading.Thread(target=services.down)
        second.start()
        assert said.wait(5)
        assert second.is_alive()
    second.join(5)
    assert not second.is_alive()


def test_where_only_root_may_enter_the_servers_live_elsewhere(
    checkout: Checkout, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(services, "OUTSIDE", tmp_path)
    monkeypatch.setattr(machine, "is_root", lambda: True)
    monkeypatch.setattr(machine, "may_enter", lambda _: False)
    elsewhere = tmp_path / f"chat-{checkout.id}"
    assert checkout.home == elsewhere
    assert (checkout.services / "where").read_text().strip() == str(elsewhere)
    monkeypatch.setattr(machine, "may_enter", lambda _: True)
    assert checkout.home == elsewhere  # the data is there now
    (checkout.services / "where").write_text("/var/lib/chat-of-another-checkout")
    assert checkout.home == checkout.services


def test_installing_forbids_starts_and_brings_the_policy_back(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    policy = tmp_path / "policy-rc.d"
    monkeypatch.setattr(programs, "POLICY", policy)
    monkeypatch.setattr(programs, "INSTALLING", tmp_path / "lock")
    for before in (None, "#!/bin/sh\nexit 0\n"):
        if before:
            policy.write_text(before)
        with programs.no_service_starts():
            assert "exit 101" in policy.read_text()
        assert (policy.read_text() if policy.exists() else None) == before


def test_the_example_names_every_setting() -> None:
    from dataclasses import fields

    from chat.config import Settings

    example = Path(".env.example").read_text()
    assert [each.name for each in fields(Settings) if f"\n#{each.name.upper()}=" not in example] == []
