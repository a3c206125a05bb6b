"""Settings for a test, and where the project's files are."""

import dataclasses
from pathlib import Path
from secrets import token_hex
from typing import Any

from chat import config
from chat.config import Settings

ROOT = Path(__file__).parent.parent.parent


def settings_for(database_url: str, **changed: Any) -> Settings:
    """Settings for a test: real services, names of its own, no rate limit."""
    found = config.load(dotenv=ROOT / ".env")
    defaults: dict[str, Any] = {
        "host": "127.0.0.1",
        "database_url": database_url,
        "amqp_url": found.amqp_url,
        "amqp_prefix": f"test-{token_hex(4)}.",
        "jwt_secret": token_hex(32),
        "rate_limit_per_s": 0.0,
        "allowed_origins": ("https://friend.example",),
        "db_pool_size": 4,
        "db_startup_timeout_s": 5.0,
        "command_timeout_s": 8.0,
    }
    return Settings(**{**defaults, **changed})


def as_text(value: Any) -> str:
    """The value of a setting as text, as an environment variable holds it."""
    if isinstance(value, bool):
        return "1" if value else "0"
    return ",".join(value) if isinstance(value, tuple) else str(value)


def as_environment(settings: Settings) -> dict[str, str]:
    """Return the environment variables from which a process reads these settings."""
    return {each.name.upper(): as_text(getattr(settings, each.name)) for each in dataclasses.fields(settings)}
