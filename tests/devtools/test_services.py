"""devtools/services.py: which PostgreSQL and RabbitMQ are chosen, and what is written to .env."""

import fcntl
import shutil
import socket
import socketserver
import stat
import tempfile
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import psycopg2
import pytest

from chat.config import read_dotenv
from devtools import packages, postgres, processes, rabbitmq, services
from devtools.processes import ProbeResult, ServiceError
from devtools.services import Checkout, ServiceSpec

DEFAULT = "amqp://guest:guest@127.0.0.1:5672/"
PRIVATE = "amqp://chat:secret@127.0.0.1:5673/"
FOREIGN = "amqp://them:secret@mq.example.com:5672/"


@dataclass
class FakeServer:
    """A private server that only records what was done to it. `results` says what a probe of each URL finds."""

    url: str = PRIVATE
    log: Path = Path("log")
    created: bool = False
    running: bool = False
    installed: bool = True
    results: dict[str, ProbeResult] = field(default_factory=dict)
    former: tuple[str, ...] = ()

    def has_had(self, url: str) -> bool:
        return url in (self.url, *self.former)

    def exists(self) -> bool:
        return self.created

    def is_running(self) -> bool:
        return self.running

    def bin(self) -> Path | None:
        return Path("/somewhere") if self.installed else None

    def start(self) -> None:
        self.created = self.running = True
        self.results[self.url] = ProbeResult.ACCEPTED

    def stop(self) -> None:
        self.running = False

    def probe(self, url: str) -> ProbeResult:
        return self.results.get(url, ProbeResult.SILENT)


def spec_for(server: FakeServer, setting: str = "AMQP_URL", default_url: str = DEFAULT) -> ServiceSpec:
    return ServiceSpec(
        name="RabbitMQ",
        setting=setting,
        default_url=default_url,
        probe=server.probe,
        private=server,
        compose_service="rabbitmq",
        package="package",
        units=("unit",),
        fallback=lambda: "memory:",
    )


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Checkout:
    """An empty working directory, on a machine without docker, with nothing in the environment."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(packages, "can_install", lambda: False)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    (tmp_path / "bin").mkdir()
    for name in ("DATABASE_URL", "AMQP_URL", "AMQP_PREFIX", "JWT_SECRET"):
        monkeypatch.delenv(name, raising=False)
    return Checkout(tmp_path)


def docker(checkout: Checkout, body: str) -> Path:
    """Put a docker on PATH. Returns the file to which it writes its arguments."""
    program, calls = checkout.dotenv.parent / "bin" / "docker", checkout.dotenv.parent / "calls"
    program.write_text(f'#!/bin/sh\necho "$RABBITMQ_PORT $@" >> {calls}\n{body}\n')
    program.chmod(0o755)
    return calls


def test_a_configured_server_that_answers_is_used(checkout: Checkout) -> None:
    server = FakeServer(results={FOREIGN: ProbeResult.ACCEPTED, DEFAULT: ProbeResult.ACCEPTED})
    assert services.resolve_service(spec_for(server), FOREIGN, checkout) == FOREIGN
    assert not server.created


@pytest.mark.parametrize("answer", [ProbeResult.SILENT, ProbeResult.REFUSED])
def test_a_configured_server_that_does_not_answer_is_an_error_that_says_what_to_do(
    checkout: Checkout, answer: ProbeResult
) -> None:
    with pytest.raises(ServiceError, match=r"mq\.example\.com.*AMQP_URL.*Start the server or correct") as caught:
        services.resolve_service(spec_for(FakeServer(results={FOREIGN: answer})), FOREIGN, checkout)
    assert "secret" not in str(caught.value)


def test_a_configured_private_server_is_started_again(checkout: Checkout) -> None:
    server = FakeServer(created=True)
    assert services.resolve_service(spec_for(server), PRIVATE, checkout) == PRIVATE
    assert server.running


def write_dotenv(checkout: Checkout, amqp_url: str) -> None:
    checkout.dotenv.write_text(f"PORT=9000\nAMQP_URL={amqp_url}\nJWT_SECRET=mine\n")
    checkout.dotenv.chmod(0o600)


@dataclass
class EvictedServer(FakeServer):
    """A private server that starts on another port, because another program has the one that it had."""

    moved: str = PRIVATE.replace("5673", "5674")

    def start(self) -> None:
        self.former, self.url = (*self.former, self.url), self.moved
        super().start()


@pytest.mark.parametrize("answer", [ProbeResult.SILENT, ProbeResult.REFUSED])
def test_a_private_server_whose_port_is_taken_moves_and_dotenv_says_where(
    checkout: Checkout, answer: ProbeResult, capsys: pytest.CaptureFixture[str]
) -> None:
    write_dotenv(checkout, PRIVATE)
    server = EvictedServer(created=True, results={PRIVATE: answer})
    assert services.resolve_service(spec_for(server), PRIVATE, checkout) == server.moved
    assert checkout.dotenv.read_text() == f"PORT=9000\nAMQP_URL={server.moved}\nJWT_SECRET=mine\n"
    assert stat.S_IMODE(checkout.dotenv.stat().st_mode) == 0o600
    printed = capsys.readouterr().out
    assert "another program has port 5673" in printed
    assert "AMQP_URL=amqp://chat:***@127.0.0.1:5674/" in printed


def test_a_move_that_was_not_written_down_is_written_down_later(checkout: Checkout) -> None:
    write_dotenv(checkout, PRIVATE)
    now = PRIVATE.replace("5673", "5674")
    server = FakeServer(now, created=True, running=True, former=(PRIVATE,), results={now: ProbeResult.ACCEPTED})
    assert services.resolve_service(spec_for(server), PRIVATE, checkout) == now
    assert read_dotenv(checkout.dotenv)["AMQP_URL"] == now


@pytest.mark.parametrize(
    "edited",
    [
        PRIVATE.replace("secret", "other"),
        PRIVATE.replace("chat:", "other:"),
        PRIVATE.replace("5673", "6000"),
        PRIVATE + "other",
    ],
)
@pytest.mark.parametrize("answer", [ProbeResult.SILENT, ProbeResult.REFUSED])
def test_a_private_url_that_the_user_has_changed_is_their_wish(
    checkout: Checkout, edited: str, answer: ProbeResult
) -> None:
    write_dotenv(checkout, edited)
    before = checkout.dotenv.read_text()
    with pytest.raises(ServiceError, match="AMQP_URL"):
        services.resolve_service(spec_for(EvictedServer(created=True, results={edited: answer})), edited, checkout)
    assert checkout.dotenv.read_text() == before


def test_a_url_in_the_environment_is_the_users_wish(checkout: Checkout, monkeypatch: pytest.MonkeyPatch) -> None:
    write_dotenv(checkout, PRIVATE)
    monkeypatch.setenv("AMQP_URL", PRIVATE)
    server = EvictedServer(created=True, results={PRIVATE: ProbeResult.REFUSED})
    with pytest.raises(ServiceError, match="AMQP_URL"):
        services.resolve_service(spec_for(server), PRIVATE, checkout)
    assert read_dotenv(checkout.dotenv)["AMQP_URL"] == PRIVATE


def test_without_the_folder_of_a_private_server_its_url_is_one_like_others(checkout: Checkout) -> None:
    write_dotenv(checkout, PRIVATE)
    server = EvictedServer("", results={PRIVATE: ProbeResult.REFUSED})
    with pytest.raises(ServiceError, match=r"Without AMQP_URL, another server is found or started"):
        services.resolve_service(spec_for(server), PRIVATE, checkout)
    assert not server.created


def test_a_setting_is_replaced_and_all_other_text_stays(checkout: Checkout) -> None:
    lines = "# AMQP_URL={url}\r\nAMQP_URL_2={url}\nexport AMQP_URL='{url}'\t\r\nAMQP_URL = {url} \nAMQP_URL={url}x\nX=é"
    checkout.dotenv.write_bytes(lines.format(url="a.b").encode())
    services.replace_setting(checkout.dotenv, "AMQP_URL", "a.b", r"\1")
    expected = lines.format(url="a.b").replace("'a.b'", r"'\1'").replace("= a.b ", r"= \1 ")
    assert checkout.dotenv.read_bytes() == expected.encode()


def test_the_memory_broker_needs_no_server(checkout: Checkout) -> None:
    assert (
        services.resolve_service(spec_for(FakeServer(results={DEFAULT: ProbeResult.ACCEPTED})), "memory:", checkout)
        == "memory:"
    )


def test_a_server_on_the_standard_port_is_used(checkout: Checkout) -> None:
    server = FakeServer(created=True, results={DEFAULT: ProbeResult.ACCEPTED})
    assert services.resolve_service(spec_for(server), None, checkout) == DEFAULT
    assert not server.running


def test_a_server_on_the_standard_port_that_refuses_the_credentials_is_not_used(
    checkout: Checkout, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (
        services.resolve_service(spec_for(FakeServer(results={DEFAULT: ProbeResult.REFUSED})), None, checkout)
        == PRIVATE
    )
    assert "left alone" in capsys.readouterr().out


def test_docker_compose_comes_before_a_new_private_server(checkout: Checkout) -> None:
    calls = docker(checkout, "exit 0")
    with socket.create_server(("127.0.0.1", 0)) as foreign:
        taken = foreign.getsockname()[1]
        free = processes.free_port(taken)
        default_url, url = (f"amqp://guest:guest@127.0.0.1:{port}/" for port in (taken, free))
        server = FakeServer(results={default_url: ProbeResult.REFUSED, url: ProbeResult.ACCEPTED})
        assert services.resolve_service(spec_for(server, default_url=default_url), None, checkout) == url
    assert f"{free} compose up --detach --wait rabbitmq" in calls.read_text()
    assert checkout.compose.started == ["rabbitmq"]
    assert read_dotenv(checkout.dotenv) == {"RABBITMQ_PORT": str(free)}


def test_a_docker_client_without_an_engine_is_not_used(checkout: Checkout) -> None:
    calls = docker(checkout, "exit 1")
    assert services.resolve_service(spec_for(FakeServer()), None, checkout) == PRIVATE
    assert "compose" not in calls.read_text()


def test_when_docker_compose_fails_a_private_server_is_started(checkout: Checkout) -> None:
    docker(checkout, '[ "$1" = info ]')
    assert services.resolve_service(spec_for(FakeServer()), None, checkout) == PRIVATE
    assert checkout.compose.started == []


def test_an_earlier_private_server_comes_before_docker_compose(checkout: Checkout) -> None:
    calls = docker(checkout, "exit 0")
    assert services.resolve_service(spec_for(FakeServer(created=True)), None, checkout) == PRIVATE
    assert not calls.exists()


def test_root_installs_missing_programs(checkout: Checkout, monkeypatch: pytest.MonkeyPatch) -> None:
    server = FakeServer(installed=False)

    def install(package: str, units: object, log: Path) -> bool:
        server.installed = True
        return True

    monkeypatch.setattr(packages, "can_install", lambda: True)
    monkeypatch.setattr(packages, "install", install)
    assert services.resolve_service(spec_for(server), None, checkout) == PRIVATE


def test_without_any_server_or_program_there_is_the_fallback(checkout: Checkout) -> None:
    assert services.resolve_service(spec_for(FakeServer(installed=False)), None, checkout) == "memory:"


def test_dotenv_is_written_once_and_kept(checkout: Checkout, monkeypatch: pytest.MonkeyPatch) -> None:
    database = FakeServer("postgresql://chat:secret@127.0.0.1:5433/chat")
    broker = FakeServer()
    specs = [spec_for(database, "DATABASE_URL", postgres.DEFAULT_URL), spec_for(broker)]
    monkeypatch.setattr(Checkout, "service_specs", lambda _: specs)
    services.up()
    written = checkout.dotenv.read_text()
    assert stat.S_IMODE(checkout.dotenv.stat().st_mode) == 0o600
    settings = read_dotenv(checkout.dotenv)
    assert settings.keys() == {"DATABASE_URL", "AMQP_URL", "JWT_SECRET"}
    assert settings["DATABASE_URL"] == database.url
    assert len(settings["JWT_SECRET"].encode()) >= 32

    database.results.clear()
    services.up()
    assert checkout.dotenv.read_text() == written

    services.down()
    assert not database.running
    assert not broker.running


def test_settings_in_dotenv_or_the_environment_are_not_written_again(
    checkout: Checkout, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkout.dotenv.write_text("PORT=9000\nJWT_SECRET=mine")
    monkeypatch.setenv("AMQP_URL", FOREIGN)
    broker = FakeServer(results={FOREIGN: ProbeResult.ACCEPTED})
    specs = [spec_for(FakeServer("postgresql://ours"), "DATABASE_URL", postgres.DEFAULT_URL), spec_for(broker)]
    monkeypatch.setattr(Checkout, "service_specs", lambda _: specs)
    services.up()
    assert checkout.dotenv.read_text() == "PORT=9000\nJWT_SECRET=mine\nDATABASE_URL=postgresql://ours\n"


def test_a_shared_broker_beside_a_private_database_gets_a_prefix(
    checkout: Checkout, monkeypatch: pytest.MonkeyPatch
) -> None:
    broker = FakeServer(results={rabbitmq.DEFAULT_URL: ProbeResult.ACCEPTED})
    specs = [spec_for(FakeServer("postgresql://ours"), "DATABASE_URL", postgres.DEFAULT_URL), spec_for(broker)]
    monkeypatch.setattr(Checkout, "service_specs", lambda _: specs)
    services.up()
    assert read_dotenv(checkout.dotenv)["AMQP_PREFIX"] == f"chat-{checkout.id}."


def test_a_second_start_waits_for_the_first(
    checkout: Checkout, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Checkout, "service_specs", lambda _: [])
    with (checkout.services / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        announced = threading.Event()
        monkeypatch.setattr(services, "say", lambda text: announced.set() if "waiting" in text else None)
        second = threading.Thread(target=services.down)
        second.start()
        assert announced.wait(5)
        assert second.is_alive()
    second.join(5)
    assert not second.is_alive()


def test_servers_live_outside_a_checkout_that_only_root_may_enter(
    checkout: Checkout, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(services, "SHARED_STATE_DIR", tmp_path)
    monkeypatch.setattr(processes, "is_root", lambda: True)
    monkeypatch.setattr(processes, "is_world_traversable", lambda _: False)
    elsewhere = tmp_path / f"chat-{checkout.id}"
    assert checkout.home == elsewhere
    assert (checkout.services / "where").read_text().strip() == str(elsewhere)
    monkeypatch.setattr(processes, "is_world_traversable", lambda _: True)
    assert checkout.home == elsewhere  # because the data is there now
    (checkout.services / "where").write_text("/var/lib/chat-of-another-checkout")
    assert checkout.home == checkout.services


def test_an_installation_forbids_starts_and_restores_the_policy(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    policy = tmp_path / "policy-rc.d"
    monkeypatch.setattr(packages, "POLICY", policy)
    monkeypatch.setattr(packages, "INSTALL_LOCK", tmp_path / "lock")
    for before in (None, "#!/bin/sh\nexit 0\n"):
        if before:
            policy.write_text(before)
        with packages.no_service_starts():
            assert "exit 101" in policy.read_text()
        assert (policy.read_text() if policy.exists() else None) == before


# --- real private servers -----------------------------------------------------------------------------


class HangUp(socketserver.BaseRequestHandler):
    """A program that is neither PostgreSQL nor RabbitMQ: it closes each connection at once."""


@pytest.fixture
def real_checkout(monkeypatch: pytest.MonkeyPatch) -> Iterator[Checkout]:
    """A working directory in which both private servers were started, named in .env, and stopped again."""
    folder = Path(tempfile.mkdtemp(prefix="chat-test-"))
    folder.chmod(0o755)  # the servers' users have to enter it
    monkeypatch.chdir(folder)
    for name in ("DATABASE_URL", "AMQP_URL", "AMQP_PREFIX", "JWT_SECRET"):
        monkeypatch.delenv(name, raising=False)
    checkout = Checkout(folder)
    specs = checkout.service_specs()
    if any(spec.private.bin() is None for spec in specs):
        pytest.skip("PostgreSQL or RabbitMQ is not installed")
    try:
        for spec in specs:
            spec.private.start()
        settings = {spec.setting: spec.private.url for spec in specs}
        services.add_settings(checkout.dotenv, {**settings, "JWT_SECRET": "mine"})
        run_sql(settings["DATABASE_URL"], "CREATE TABLE kept ()")
        services.down()
        yield checkout
    finally:
        services.down()
        shutil.rmtree(folder)


def run_sql(url: str, statement: str) -> None:
    with closing(psycopg2.connect(url)) as connection, connection, connection.cursor() as cursor:
        cursor.execute(statement)


@pytest.mark.services
@pytest.mark.timeout(180)  # it starts seven servers, which takes half a minute on a machine of two cores
def test_private_servers_come_back_with_their_data_when_other_programs_have_their_ports(
    real_checkout: Checkout,
) -> None:
    before = read_dotenv(real_checkout.dotenv)
    ports = {name: urlsplit(before[name]).port for name in ("DATABASE_URL", "AMQP_URL")}
    other = postgres.PrivatePostgres(real_checkout.services / "of-another-checkout", port=ports["DATABASE_URL"])
    with socketserver.ThreadingTCPServer(("127.0.0.1", ports["AMQP_URL"] or 0), HangUp) as program:
        threading.Thread(target=program.serve_forever, daemon=True).start()
        other.start()
        try:
            services.up()
            after = read_dotenv(real_checkout.dotenv)
            for name, port in ports.items():
                assert urlsplit(after[name]).port != port
                assert urlsplit(after[name])._replace(netloc="") == urlsplit(before[name])._replace(netloc="")
                assert urlsplit(after[name]).password == urlsplit(before[name]).password
            assert after["JWT_SECRET"] == "mine"
            run_sql(after["DATABASE_URL"], "SELECT FROM kept")
            services.up()  # finds them
            assert read_dotenv(real_checkout.dotenv) == after
        finally:
            other.stop()
            program.shutdown()
    services.down()
    services.up()  # on the ports that were written down
    assert read_dotenv(real_checkout.dotenv) == after
