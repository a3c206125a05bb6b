"""PostgreSQL and RabbitMQ for this checkout: found, or started. The entry points are `up()` and `down()`.

Each of the two services is the first in this list that is available:

    1  the server that DATABASE_URL or AMQP_URL names, in the environment or in .env
    2  a server on the standard port that accepts the default credentials
    3  the private server of an earlier run
    4  docker compose, if an engine answers
    5  a private server from installed programs, which apt-get installs for root
    6  PostgreSQL from a wheel; instead of RabbitMQ `memory:`, the broker inside one process

The choice is written to .env, so that the next run takes step 1. Nothing here removes data.

A URL in .env is the user's wish: if its server does not accept it, that is an error. But the URL of the private server,
as this module wrote it, says where that server listens. If another program has its port, the private server is started
on a free one, and .env is corrected.
"""

import fcntl
import hashlib
import os
import re
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

from chat.config import read_dotenv, redact_password
from devtools import packages, postgres, processes, rabbitmq
from devtools.compose import Compose, port_setting
from devtools.processes import ProbeResult, ServiceError, say

MEMORY_BROKER_URL = "memory:"
SHARED_STATE_DIR = Path("/var/lib")  # for a private server whose user cannot enter the checkout
DOTENV_HEADER = (
    "# Written by `make services`. Edit it: existing lines are kept, except for the port of a private server.\n"
    "# docs/operations.md has every setting.\n"
)


class PrivateServer(Protocol):
    """What `PrivatePostgres` and `PrivateRabbit` have in common."""

    log: Path

    @property
    def url(self) -> str: ...
    def has_had(self, url: str) -> bool: ...
    def exists(self) -> bool: ...
    def is_running(self) -> bool: ...
    def bin(self) -> Path | None: ...
    def start(self) -> None: ...
    def stop(self) -> None: ...


@dataclass(frozen=True)
class ServiceSpec:
    """One of the two services, and how to find or start it.

    name: what messages call it
    setting: the variable that holds its URL
    default_url: the URL to try on the standard port
    probe: tries a URL
    private: its private server
    compose_service: its name in docker-compose.yml
    package: its Debian package
    units: the systemd units that the package would start
    fallback: returns a URL that needs no installed programs, or None if the programs are installed now
    """

    name: str
    setting: str
    default_url: str
    probe: Callable[[str], ProbeResult]
    private: PrivateServer
    compose_service: str
    package: str
    units: tuple[str, ...]
    fallback: Callable[[], str | None]


class Checkout:
    """A working directory and the state of its services."""

    def __init__(self, folder: Path) -> None:
        self.id = hashlib.sha256(str(folder).encode()).hexdigest()[:10]
        self.dotenv = folder / ".env"
        self.services = folder / ".services"
        self.services.mkdir(mode=0o755, exist_ok=True)
        self.compose = Compose(folder, self.services)
        self._wheel_lock = folder / "requirements-postgres.lock"

    @property
    def home(self) -> Path:
        """The folder of the private servers: `.services`, or one outside the checkout if their users cannot enter it.

        A folder outside is remembered in `.services/where`, because the data stays there.
        """
        outside, where = SHARED_STATE_DIR / f"chat-{self.id}", self.services / "where"
        is_remembered = where.exists() and where.read_text().strip() == str(outside)
        if not is_remembered and (not processes.is_root() or processes.is_world_traversable(self.services)):
            return self.services
        outside.mkdir(mode=0o755, exist_ok=True)
        where.write_text(f"{outside}\n")
        return outside

    def service_specs(self) -> list[ServiceSpec]:
        home = self.home
        database = postgres.PrivatePostgres(home / "postgres", wheel=home / "wheel")
        return [
            ServiceSpec(
                name="PostgreSQL",
                setting="DATABASE_URL",
                default_url=postgres.DEFAULT_URL,
                probe=postgres.probe,
                private=database,
                compose_service="postgres",
                package=postgres.PACKAGE,
                units=postgres.UNITS,
                fallback=lambda: _install_postgres_wheel(database, self._wheel_lock),
            ),
            ServiceSpec(
                name="RabbitMQ",
                setting="AMQP_URL",
                default_url=rabbitmq.DEFAULT_URL,
                probe=rabbitmq.probe,
                private=rabbitmq.PrivateRabbit(home / "rabbitmq"),
                compose_service="rabbitmq",
                package=rabbitmq.PACKAGE,
                units=rabbitmq.UNITS,
                fallback=_use_memory_broker,
            ),
        ]


def up() -> None:
    """Make both services available and name them in .env. Raises `ServiceError`."""
    with _exclusive() as checkout:
        configured = read_dotenv(checkout.dotenv) | {name: value for name, value in os.environ.items() if value}
        specs = checkout.service_specs()
        found = {spec.setting: resolve_service(spec, configured.get(spec.setting), checkout) for spec in specs}
        if (
            not configured.get("AMQP_URL")
            and found["AMQP_URL"] == rabbitmq.DEFAULT_URL
            and found["DATABASE_URL"] != postgres.DEFAULT_URL
        ):
            # A broker that other checkouts use too, but a database of this one's own: room 1 here is not theirs.
            found["AMQP_PREFIX"] = f"chat-{checkout.id}."
        found["JWT_SECRET"] = secrets.token_urlsafe(48)
        add_settings(checkout.dotenv, {name: value for name, value in found.items() if not configured.get(name)})


def down() -> None:
    """Stop the servers that `up` started for this checkout. Data stays; servers that `up` only found keep running."""
    with _exclusive() as checkout:
        specs = checkout.service_specs()
        running = [spec for spec in specs if spec.private.exists() and spec.private.is_running()]
        for spec in running:
            spec.private.stop()
            say(f"{spec.name} stopped")
        containers = checkout.compose.started
        if containers:
            outcome = "stopped" if checkout.compose.stop() else "could not stop"
            say(f"docker compose {outcome} {' and '.join(containers)}")
        if not running and not containers:
            say("no server of this checkout is running")


def resolve_service(spec: ServiceSpec, configured: str | None, checkout: Checkout) -> str:
    """The URL of a running server, chosen in the order that the module's docstring lists. Raises `ServiceError`."""
    if configured:
        return _ensure_running(spec, configured, checkout)
    result = spec.probe(spec.default_url)
    if result is ProbeResult.ACCEPTED:
        say(f"{spec.name} found at {redact_password(spec.default_url)}")
        return spec.default_url
    if result is ProbeResult.REFUSED:
        say(f"{spec.name} on the standard port refuses {redact_password(spec.default_url)}: left alone")
    if spec.private.exists():
        return _start_private(spec)
    if checkout.compose.is_available() and (url := _start_container(spec, checkout)):
        return url
    if spec.private.bin() is None and packages.can_install():
        log = checkout.services / "install.log"
        if not packages.install(spec.package, spec.units, log):
            say(f"apt-get could not install {spec.package} (log: {log})")
    if spec.private.bin() is None and (url := spec.fallback()):
        return url
    return _start_private(spec)


def add_settings(dotenv: Path, settings: Mapping[str, str]) -> None:
    """Append settings to .env and make it readable for its owner alone. Existing lines stay."""
    if not settings:
        return
    is_new = not dotenv.exists()
    dotenv.touch(mode=0o600)
    dotenv.chmod(0o600)
    content = dotenv.read_text()
    with dotenv.open("a") as file:
        file.write(DOTENV_HEADER if is_new else "" if content.endswith("\n") else "\n")
        file.writelines(f"{name}={value}\n" for name, value in settings.items())
    say(f".env {'written' if is_new else 'completed'}: {', '.join(settings)}")


def replace_setting(dotenv: Path, name: str, old: str, new: str) -> None:
    """Replace a value in .env. All other text stays, and so do the owner and the mode of the file."""
    line = re.compile(rf"^((?:export )?[ \t]*{name}[ \t]*=[ \t\"']*){re.escape(old)}(?=[ \t\"'\r]*$)", re.MULTILINE)
    with dotenv.open("r+", encoding="utf-8", newline="") as file:
        content = line.sub(lambda match: match[1] + new, file.read())
        file.seek(0)
        file.write(content)
        file.truncate()
    say(f".env corrected: {name}={redact_password(new)}")


def _ensure_running(spec: ServiceSpec, url: str, checkout: Checkout) -> str:
    """Check that the configured server answers. Start it again if this checkout started it.

    Returns its URL, which is another one if a private server had to give up its port. Raises `ServiceError`.
    """
    if url == MEMORY_BROKER_URL:
        say(f"no {spec.name}, one process only; to change that, install it and remove {spec.setting} from .env")
        return url
    result = spec.probe(url)
    if result is not ProbeResult.ACCEPTED and _is_private_url(spec, url):
        _start_private(spec)
        if spec.private.url != url:
            say(f"another program has port {urlsplit(url).port}, which was that of the private {spec.name}")
            replace_setting(checkout.dotenv, spec.setting, url, spec.private.url)
            url = spec.private.url
        result = spec.probe(url)
    elif result is ProbeResult.SILENT:
        if spec.private.exists() and _host_and_port(spec.private.url) == _host_and_port(url):
            _start_private(spec)
        elif spec.compose_service in checkout.compose.started:
            _start_container(spec, checkout, urlsplit(url).port)
        result = spec.probe(url)
    if result is not ProbeResult.ACCEPTED:
        raise ServiceError(
            f"{spec.name} {result.value} {redact_password(url)}, "
            f"the value of {spec.setting} in the environment or in .env. "
            f"Start the server or correct the URL. Without {spec.setting}, another server is found or started."
        )
    say(f"{spec.name} answers at {redact_password(url)}")
    return url


def _is_private_url(spec: ServiceSpec, url: str) -> bool:
    """Whether this is what `up` wrote to .env for the private server, on this port or an earlier one.

    The server's folder knows its URLs. One of which the user has changed a part, or which is in the environment, is the
    user's.
    """
    return spec.private.exists() and spec.private.has_had(url) and not os.environ.get(spec.setting)


def _start_private(spec: ServiceSpec) -> str:
    is_new = not spec.private.exists()
    spec.private.start()
    say(f"{spec.name} {'created' if is_new else 'started'}, a private server (log: {spec.private.log})")
    return spec.private.url


def _host_and_port(url: str) -> tuple[str, int | None]:
    parts = urlsplit(url)
    return (parts.hostname or "").replace("localhost", "127.0.0.1"), parts.port


def _start_container(spec: ServiceSpec, checkout: Checkout, port: int | None = None) -> str | None:
    """Start the service with docker compose. Returns its URL, or None if it does not become available."""
    default_port = urlsplit(spec.default_url).port or 0
    port = port or processes.free_port(default_port)
    url = spec.default_url.replace(f":{default_port}/", f":{port}/")
    say(f"starting {spec.name} with docker compose, which may download it (log: {checkout.compose.log})")
    if not checkout.compose.up(spec.compose_service, port) or spec.probe(url) is not ProbeResult.ACCEPTED:
        say(f"docker compose could not start {spec.name} (log: {checkout.compose.log})")
        return None
    if port != default_port:  # docker compose reads .env too, when it is run by hand
        add_settings(checkout.dotenv, {port_setting(spec.compose_service): str(port)})
    return url


def _install_postgres_wheel(database: postgres.PrivatePostgres, lock: Path) -> None:
    say("PostgreSQL is not installed: installing it from a Python wheel")
    if not database.install_wheel(lock):
        raise ServiceError(
            f"There is no PostgreSQL for this machine. Install version {postgres.MIN_VERSION} or newer, "
            "or name a server in DATABASE_URL."
        )


def _use_memory_broker() -> str:
    say(f"RabbitMQ is not installed: AMQP_URL={MEMORY_BROKER_URL}, broker and bot run inside ONE server process")
    return MEMORY_BROKER_URL


@contextmanager
def _exclusive() -> Iterator[Checkout]:
    """Allow one start or stop at a time: `make run` and `make test` may run together. Raises `ServiceError`."""
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
        raise ServiceError(f"{error}. If another user made it, run this as that user or as root.") from error
