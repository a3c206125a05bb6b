"""Settings: one frozen dataclass, all defaults on one screen, read from the environment and `.env`."""

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit, urlunsplit

from chat.errors import OperatorError

MIN_JWT_SECRET_BYTES = 32  # RFC 7518, 3.2: a key for HS256 is at least as long as the hash

T = TypeVar("T")


class ConfigError(OperatorError):
    """A setting has an invalid value. The text names the setting, the value and what is expected."""


def _setting(default: T, about: str, *, minimum: float = 0, maximum: float = 10**9, secret: bool = False) -> T:
    metadata = {"about": about, "minimum": minimum, "maximum": maximum}
    return field(default=default, repr=not secret, metadata=metadata)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Every setting; the name in the environment is the field's in upper case. docs/operations.md has the table."""

    host: str = _setting("127.0.0.1", "address to listen on; 0.0.0.0 is every interface")
    port: int = _setting(8080, "port to listen on")
    workers: int = _setting(1, "server processes of `chat run` and `chat serve`, on one port", minimum=1, maximum=1000)
    database_url: str = _setting("postgresql://chat:chat@127.0.0.1:5432/chat", "PostgreSQL", secret=True)
    amqp_url: str = _setting("amqp://guest:guest@127.0.0.1:5672/", "RabbitMQ, or memory:", secret=True)
    amqp_prefix: str = _setting("", "prefix of every exchange and queue name")
    jwt_secret: str = _setting("", "key that signs tokens, at least 32 bytes; no default", secret=True)
    access_token_ttl_s: float = _setting(216_000.0, "seconds that a token is valid", minimum=0.3)
    allowed_origins: tuple[str, ...] = _setting((), "other origins whose pages may open a websocket")
    rate_limit_per_s: float = _setting(
        20.0, "frames a second for a connection, five times as many at once; 0: no limit"
    )
    send_buffer_limit_bytes: int = _setting(
        1 << 20, "bytes of unsent data above which a websocket is disconnected", minimum=65_536
    )
    resume_max_events: int = _setting(1000, "most events that one resume replays", minimum=1)
    write_timeout_s: float = _setting(5.0, "seconds until a write is acknowledged or refused", minimum=0.05)
    write_queue_limit: int = _setting(10_000, "writes that may wait for PostgreSQL", minimum=1)
    db_pool_size: int = _setting(8, "connections for reading; the event writer has its own", minimum=1)
    db_startup_timeout_s: float = _setting(30.0, "seconds that the start waits for PostgreSQL")
    ping_interval_s: float = _setting(
        25.0, "a peer that was silent is pinged before so many seconds have passed", minimum=0.05
    )
    ping_timeout_s: float = _setting(12.5, "seconds that a peer has to answer a ping", minimum=0.02)
    request_body_timeout_s: float = _setting(15.0, "seconds for the body of a request to arrive", minimum=0.05)
    hash_threads: int = _setting(
        1, "threads that hash passwords; each takes 64 MiB and does five to ten hashes a second", minimum=1
    )
    hash_queue_timeout_s: float = _setting(5.0, "seconds that a log-in may wait for a hashing thread")
    stock_url: str = _setting(
        "https://stooq.com/q/l/?s={code}&f=sd2t2ohlcv&h&e=csv", "source of quotes; {code} is replaced"
    )
    stock_timeout_s: float = _setting(5.0, "seconds for the quote to arrive", minimum=0.05)
    command_timeout_s: float = _setting(10.0, "seconds for a bot to answer a command", minimum=0.05)
    log_level: str = _setting("INFO", "DEBUG, INFO, WARNING or ERROR")

    def __post_init__(self) -> None:
        for each in fields(self):
            value, minimum, maximum = getattr(self, each.name), each.metadata["minimum"], each.metadata["maximum"]
            if isinstance(value, (int, float)) and not value >= minimum:
                raise ConfigError(f"{each.name.upper()}={value} is too small: at least {minimum} is expected")
            if isinstance(value, (int, float)) and value > maximum:
                raise ConfigError(f"{each.name.upper()}={value} is too large: at most {maximum} is expected")
        if not 0 <= self.port <= 65_535:
            raise ConfigError(f"PORT={self.port} is not a port: 0 to 65535 is expected")
        if self.log_level not in ("DEBUG", "INFO", "WARNING", "ERROR"):
            raise ConfigError(f"LOG_LEVEL={self.log_level}: DEBUG, INFO, WARNING or ERROR is expected")
        if "{code}" not in self.stock_url:
            raise ConfigError(f"STOCK_URL={self.stock_url} has no {{code}} to put the stock's code in")
        if _scheme(self.database_url) not in ("postgresql", "postgres"):
            raise ConfigError(f"DATABASE_URL={redact_password(self.database_url)}: postgresql://… is expected")
        if _scheme(self.amqp_url) not in ("amqp", "amqps", "memory"):
            raise ConfigError(f"AMQP_URL={redact_password(self.amqp_url)}: amqp://…, amqps://… or memory: is expected")
        if self.workers > 1 and self.uses_memory_broker:
            raise ConfigError(
                f"WORKERS={self.workers} needs RabbitMQ: AMQP_URL=amqp://… is expected, "
                "because AMQP_URL=memory: is a broker within one process"
            )

    @property
    def uses_memory_broker(self) -> bool:
        """Whether the broker and the bot live inside the server's process."""
        return _scheme(self.amqp_url) == "memory"

    def require_jwt_secret(self) -> None:
        """Raise `ConfigError` if these settings cannot sign tokens. The server asks at its start."""
        size = len(self.jwt_secret.encode())
        if size < MIN_JWT_SECRET_BYTES:
            raise ConfigError(
                f"JWT_SECRET has {size} bytes: at least {MIN_JWT_SECRET_BYTES} random ones are expected, "
                "for example from `openssl rand -hex 32`; `make run` writes one to .env"
            )


# The names of version 1.0.0, and what to set instead.
OLD_NAMES = {
    "JWT_TTL_HOURS": "ACCESS_TOKEN_TTL_S (in seconds)",
    "MESSAGES_PER_S": "RATE_LIMIT_PER_S",
    "OUTBOX_BYTES": "SEND_BUFFER_LIMIT_BYTES",
    "RESUME_EVENTS": "RESUME_MAX_EVENTS",
    "JOURNAL_ROWS": "WRITE_QUEUE_LIMIT",
    "DB_CONNECTIONS": "DB_POOL_SIZE",
    "STARTUP_WAIT_S": "DB_STARTUP_TIMEOUT_S",
    "HEARTBEAT_S": "PING_INTERVAL_S, and PING_TIMEOUT_S (half as long)",
    "BODY_TIMEOUT_S": "REQUEST_BODY_TIMEOUT_S",
    "PASSWORD_THREADS": "HASH_THREADS",
    "PASSWORD_WAIT_S": "HASH_QUEUE_TIMEOUT_S",
}

# The settings of version 1.0.0 that are gone, and why nothing has to be set.
REMOVED_NAMES = {
    "ROBOT_QUEUES_DURABLE": "the bot declares its queues as it likes, and the server uses what is there",
}


def load(environ: Mapping[str, str] = os.environ, dotenv: Path | None = Path(".env")) -> Settings:
    """Settings from `environ`, then from `dotenv` if that file exists, then the defaults.

    An empty value counts as unset. Raises `ConfigError`, also for a name of version 1.0.0 that is no setting any more.
    """
    given = {**(read_dotenv(dotenv) if dotenv else {}), **{k: v for k, v in environ.items() if v}}
    for old, new in OLD_NAMES.items():
        if given.get(old):
            raise ConfigError(f"{old} has a new name: set {new} instead (in the environment or in .env)")
    for removed, reason in REMOVED_NAMES.items():
        if given.get(removed):
            raise ConfigError(f"{removed} is gone: {reason}. Remove it (from the environment or from .env)")
    if given.get("AMQP_URL", "").startswith("local:"):
        raise ConfigError("AMQP_URL=local: has a new name: set AMQP_URL=memory: instead")
    values: dict[str, Any] = {}
    for each in fields(Settings):
        name = each.name.upper()
        if given.get(name):
            values[each.name] = _parse(name, given[name], type(each.default))
    return Settings(**values)


def is_set(name: str, environ: Mapping[str, str] = os.environ, dotenv: Path = Path(".env")) -> bool:
    """Whether the user gave the setting a value, be it the default's. Raises `ConfigError`."""
    return bool(environ.get(name) or read_dotenv(dotenv).get(name))


def read_dotenv(path: Path) -> dict[str, str]:
    """The `NAME=value` lines of a file, {} if there is none. Quotes around a value are taken off.

    Raises `ConfigError` when it is there and cannot be read.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from None
    pairs = (line.split("=", 1) for line in lines if "=" in line and not line.lstrip().startswith("#"))
    return {name.removeprefix("export ").strip(): value.strip().strip("\"'") for name, value in pairs}


def redact_password(url: str) -> str:
    """The URL with its password as ***, for a log line. Also when it is not a URL."""
    url = _PASSWORD.sub(r"\1***", url)
    try:
        parts = urlsplit(url)
    except ValueError:  # of brackets that do not match
        return "***"
    if not parts.password:
        return url
    return urlunsplit(parts._replace(netloc=parts.netloc.replace(f":{parts.password}@", ":***@")))


_PASSWORD = re.compile(r"(\bpassword\s*=\s*)('[^']*'|[^&\s]+)")  # in a query, or in the driver's other form


def _scheme(url: str) -> str:
    try:
        return urlsplit(url).scheme
    except ValueError:
        return ""


def _parse_list(text: str) -> tuple[str, ...]:
    return tuple(item.strip().rstrip("/") for item in text.split(",") if item.strip())


_PARSERS: dict[type, tuple[Callable[[str], Any], str]] = {
    int: (int, "a whole number"),
    float: (float, "a number"),
    tuple: (_parse_list, "a list with commas"),
    str: (lambda text: text.encode().decode(), "text in UTF-8"),
}


def _parse(name: str, text: str, kind: type) -> Any:
    parse, expected = _PARSERS[kind]
    try:
        return parse(text)
    except ValueError:
        shown = "" if kind is str else f"={text!r}"  # it may be a secret
        raise ConfigError(f"{name}{shown} cannot be read: {expected} is expected") from None
