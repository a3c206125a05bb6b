"""Settings: one frozen dataclass, all defaults on one screen, read from the environment and `.env`."""

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from chat.errors import OperatorError

JWT_SECRET_BYTES = 32  # RFC 7518, 3.2: a key for HS256 is at least as long as the hash


class ConfigError(OperatorError):
    """A setting has a value that cannot be meant; the text names it, the value and what was expected."""


def _setting(default: Any, about: str, *, least: float = 0, most: float = 10**9, secret: bool = False) -> Any:
    return field(default=default, repr=not secret, metadata={"about": about, "least": least, "most": most})


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Every setting; the environment's name is the field's in upper case. README.md has the table."""

    host: str = _setting("127.0.0.1", "address to listen on; 0.0.0.0 is every interface")
    port: int = _setting(8080, "port to listen on")
    database_url: str = _setting("postgresql://chat:chat@127.0.0.1:5432/chat", "PostgreSQL", secret=True)
    amqp_url: str = _setting("amqp://guest:guest@127.0.0.1:5672/", "RabbitMQ, or memory:", secret=True)
    amqp_prefix: str = _setting("", "before every exchange and queue name")
    jwt_secret: str = _setting("", "key that signs tokens, at least 32 bytes; no default", secret=True)
    jwt_ttl_hours: float = _setting(60.0, "how long a token is good", least=0.0001, most=10**6)
    allowed_origins: tuple[str, ...] = _setting((), "other origins whose pages may open a websocket")
    messages_per_s: float = _setting(20.0, "a socket's rate; five times that in a burst; 0 is off")
    outbox_bytes: int = _setting(1 << 20, "cap of a socket's write buffer; beyond it is cut", least=65_536)
    resume_events: int = _setting(1000, "events a resume replays at most", least=1)
    write_timeout_s: float = _setting(5.0, "an author has his answer by then", least=0.05)
    journal_rows: int = _setting(10_000, "writes that may wait for PostgreSQL", least=1)
    db_connections: int = _setting(8, "connections for reading; the journal has its own", least=1)
    startup_wait_s: float = _setting(30.0, "how long the start waits for PostgreSQL")
    heartbeat_s: float = _setting(
        25.0, "a silent peer is pinged before so long is over, and has half as long to answer", least=0.05
    )
    body_timeout_s: float = _setting(15.0, "a request's body has arrived by then", least=0.05)
    password_threads: int = _setting(1, "threads that hash passwords: 64 MiB and five to ten a second each", least=1)
    password_wait_s: float = _setting(5.0, "a log-in waits so long for a free thread")
    stock_url: str = _setting(
        "https://stooq.com/q/l/?s={code}&f=sd2t2ohlcv&h&e=csv", "CSV source; {code} is the stock's"
    )
    stock_timeout_s: float = _setting(5.0, "the CSV has arrived by then", least=0.05)
    command_timeout_s: float = _setting(10.0, "a robot has answered by then", least=0.05)
    robot_queues_durable: bool = _setting(True, "0 for an older robot that declares them transient")
    log_level: str = _setting("INFO", "DEBUG, INFO, WARNING or ERROR")

    def __post_init__(self) -> None:
        for each in fields(self):
            value, least, most = getattr(self, each.name), each.metadata["least"], each.metadata["most"]
            if isinstance(value, (int, float)) and not value >= least:
                raise ConfigError(f"{each.name.upper()}={value} is too small: at least {least} is expected")
            if isinstance(value, (int, float)) and value > most:
                raise ConfigError(f"{each.name.upper()}={value} is too large: at most {most} is expected")
        if not 0 <= self.port <= 65_535:
            raise ConfigError(f"PORT={self.port} is not a port: 0 to 65535 is expected")
        if self.log_level not in ("DEBUG", "INFO", "WARNING", "ERROR"):
            raise ConfigError(f"LOG_LEVEL={self.log_level}: DEBUG, INFO, WARNING or ERROR is expected")
        if "{code}" not in self.stock_url:
            raise ConfigError(f"STOCK_URL={self.stock_url} has no {{code}} to put the stock's code in")
        if _scheme(self.database_url) not in ("postgresql", "postgres"):
            raise ConfigError(f"DATABASE_URL={hidden(self.database_url)}: postgresql://… is expected")
        if _scheme(self.amqp_url) not in ("amqp", "amqps", "memory"):
            raise ConfigError(f"AMQP_URL={hidden(self.amqp_url)}: amqp://…, amqps://… or memory: is expected")

    @property
    def uses_memory_broker(self) -> bool:
        """Whether the broker and the robot live inside this process."""
        return _scheme(self.amqp_url) == "memory"

    def signing(self) -> "Settings":
        """These settings, if they can sign tokens; `ConfigError` otherwise. The server asks at its start."""
        if len(self.jwt_secret.encode()) < JWT_SECRET_BYTES:
            raise ConfigError(
                f"JWT_SECRET has {len(self.jwt_secret.encode())} bytes: at least {JWT_SECRET_BYTES} random ones "
                "are expected, for example from `openssl rand -hex 32`; `make run` writes one to .env"
            )
        return self


def load(environ: Mapping[str, str] = os.environ, dotenv: Path | None = Path(".env")) -> Settings:
    """Settings from `environ`, then from `dotenv` if that file exists, then the defaults.

    An empty value counts as unset. Raises `ConfigError`.
    """
    found = {**(read_dotenv(dotenv) if dotenv else {}), **{k: v for k, v in environ.items() if v}}
    values: dict[str, Any] = {}
    for each in fields(Settings):
        name = each.name.upper()
        if found.get(name):
            values[each.name] = _parsed(name, found[name], type(each.default))
    return Settings(**values)


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


def hidden(url: str) -> str:
    """The URL with its password as ***: what a log line may show. Also when it is no URL."""
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


def _boolean(text: str) -> bool:
    return {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}[text.lower()]


def _listed(text: str) -> tuple[str, ...]:
    return tuple(item.strip().rstrip("/") for item in text.split(",") if item.strip())


_READERS: dict[type, tuple[Callable[[str], Any], str]] = {
    bool: (_boolean, "1 or 0"),
    int: (int, "a whole number"),
    float: (float, "a number"),
    tuple: (_listed, "a list with commas"),
    str: (lambda text: text.encode().decode(), "text in UTF-8"),
}


def _parsed(name: str, text: str, kind: type) -> Any:
    read, expected = _READERS[kind]
    try:
        return read(text)
    except (ValueError, KeyError):
        shown = "" if kind is str else f"={text!r}"  # it may be a secret
        raise ConfigError(f"{name}{shown} cannot be read: {expected} is expected") from None
