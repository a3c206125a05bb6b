"""chat/config.py: pure, so plain asserts."""

import dataclasses
from pathlib import Path

import pytest

from chat import config
from chat.config import ConfigError, Settings

SECRET = "0123456789abcdef0123456789abcdef"


def load(**environ: str) -> Settings:
    return config.load(environ, dotenv=None)


def test_without_an_environment_every_setting_has_its_default() -> None:
    assert load() == Settings()


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        load().port = 1  # type: ignore[misc]


def test_each_kind_of_setting_is_read() -> None:
    found = load(
        HOST="0.0.0.0",
        PORT="9000",
        RATE_LIMIT_PER_S="0.5",
        ALLOWED_ORIGINS=" https://a.example/, ,http://b.example:81",
    )
    assert (found.host, found.port, found.rate_limit_per_s) == ("0.0.0.0", 9000, 0.5)
    assert found.allowed_origins == ("https://a.example", "http://b.example:81")


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("PORT", "eighty", "a whole number"),
        ("PORT", "80.5", "a whole number"),
        ("PORT", "65536", "0 to 65535"),
        ("PORT", "-1", "at least 0"),
        ("RATE_LIMIT_PER_S", "many", "a number"),
        ("RATE_LIMIT_PER_S", "-1", "at least 0"),
        ("WRITE_TIMEOUT_S", "0", "at least 0.05"),
        ("WRITE_TIMEOUT_S", "nan", "at least 0.05"),
        ("WRITE_TIMEOUT_S", "inf", "at most"),
        ("ACCESS_TOKEN_TTL_S", "1e10", "at most"),
        ("SEND_BUFFER_LIMIT_BYTES", "65535", "at least 65536"),
        ("LOG_LEVEL", "LOUD", "DEBUG, INFO, WARNING or ERROR"),
        ("STOCK_URL", "https://stocks.example/", "{code}"),
        ("DATABASE_URL", "mysql://localhost/chat", "postgresql://"),
        ("DATABASE_URL", "postgresql://[::1/chat", "postgresql://"),
        ("AMQP_URL", "redis://localhost", "amqp://"),
    ],
)
def test_a_bad_value_is_named_with_what_was_expected(name: str, value: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(**{name: value})
    assert str(caught.value).startswith(name)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DATABASE_URL", "mysql://chat:hush@localhost/chat"),
        ("DATABASE_URL", "host=localhost password=hush dbname=chat"),
        ("DATABASE_URL", "host=localhost password = 'hush hush' dbname=chat"),
        ("DATABASE_URL", "mysql://localhost/chat?user=chat&password=hush"),
        ("DATABASE_URL", "postgresql://chat:hush@[::1/chat"),
        ("AMQP_URL", "http://chat:hush@localhost/"),
        ("JWT_SECRET", "hush\udcff"),
    ],
)
def test_an_error_does_not_show_a_secret(name: str, value: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(**{name: value})
    assert "hush" not in str(caught.value)


def test_repr_hides_secrets() -> None:
    found = load(DATABASE_URL="postgresql://u:hush@h/d", AMQP_URL="amqp://u:hush@h/", JWT_SECRET="hush" * 8)
    assert "hush" not in repr(found)


def test_an_empty_value_counts_as_unset() -> None:
    assert load(PORT="", JWT_SECRET="") == Settings()


@pytest.mark.parametrize(("url", "local"), [("memory:", True), ("amqp://localhost/", False), ("amqps://h/", False)])
def test_the_broker_may_be_in_the_server(url: str, local: bool) -> None:
    assert load(AMQP_URL=url).uses_memory_broker is local


def test_several_workers_need_a_broker_between_them() -> None:
    assert load(WORKERS="2").workers == 2
    assert load(WORKERS="1", AMQP_URL="memory:").workers == 1
    with pytest.raises(ConfigError, match="WORKERS=2 needs RabbitMQ: AMQP_URL=amqp://… is expected"):
        load(WORKERS="2", AMQP_URL="memory:")


@pytest.mark.parametrize("old", config.OLD_NAMES)
@pytest.mark.parametrize("place", ["environment", "dotenv"])
def test_an_old_name_is_an_error_that_says_the_new_one(tmp_path: Path, old: str, place: str) -> None:
    dotenv = tmp_path / ".env"
    dotenv.write_text(f"{old}=1\n" if place == "dotenv" else "")
    with pytest.raises(
        ConfigError, match=f"{old} has a new name: set {config.OLD_NAMES[old].split(',')[0].split(' ')[0]}"
    ):
        config.load({old: "1"} if place == "environment" else {}, dotenv=dotenv)


@pytest.mark.parametrize("removed", config.REMOVED_NAMES)
@pytest.mark.parametrize("place", ["environment", "dotenv"])
def test_a_setting_that_is_gone_is_an_error_that_says_why(tmp_path: Path, removed: str, place: str) -> None:
    dotenv = tmp_path / ".env"
    dotenv.write_text(f"{removed}=1\n" if place == "dotenv" else "")
    with pytest.raises(ConfigError, match=f"{removed} is gone: {config.REMOVED_NAMES[removed]}. Remove it"):
        config.load({removed: "1"} if place == "environment" else {}, dotenv=dotenv)


def test_the_old_name_of_the_broker_within_is_an_error_too() -> None:
    with pytest.raises(ConfigError, match="set AMQP_URL=memory: instead"):
        load(AMQP_URL="local:")


def test_every_new_name_of_an_old_one_is_a_setting() -> None:
    known = {each.name.upper() for each in dataclasses.fields(Settings)}
    assert {new.split(",")[0].split(" ")[0] for new in config.OLD_NAMES.values()} <= known
    assert not known & (config.OLD_NAMES.keys() | config.REMOVED_NAMES.keys())


def test_tokens_need_a_secret_of_32_bytes() -> None:
    for short in ("", "x" * 31):
        with pytest.raises(ConfigError, match=rf"JWT_SECRET has {len(short)} bytes: at least 32"):
            load(JWT_SECRET=short).require_jwt_secret()
    for enough in (SECRET, "ä" * 16):
        load(JWT_SECRET=enough).require_jwt_secret()


# --- .env ---------------------------------------------------------------------------------------------


def test_the_environment_goes_before_dotenv(tmp_path: Path) -> None:
    dotenv = tmp_path / ".env"
    dotenv.write_text("PORT=9000\nHOST=dotenv.example\n")
    found = config.load({"PORT": "9001", "HOST": ""}, dotenv)
    assert (found.port, found.host) == (9001, "dotenv.example")


def test_dotenv_has_lines_comments_and_quotes(tmp_path: Path) -> None:
    dotenv = tmp_path / ".env"
    dotenv.write_text("# PORT=1\n\nexport PORT = 9000\nJWT_SECRET='a=b#c'\n  #HOST=x\nnonsense\nSTOCK_URL=\"{code}\"\n")
    assert config.read_dotenv(dotenv) == {"PORT": "9000", "JWT_SECRET": "a=b#c", "STOCK_URL": "{code}"}


def test_a_missing_dotenv_is_none(tmp_path: Path) -> None:
    assert config.read_dotenv(tmp_path / ".env") == {}


def test_a_dotenv_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "latin").write_bytes(b"HOST=\xe4")
    for path in (tmp_path, tmp_path / "latin"):
        with pytest.raises(ConfigError, match=f"{path.name} cannot be read"):
            config.read_dotenv(path)


# --- words --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://chat:hush@h:5432/chat", "postgresql://chat:***@h:5432/chat"),
        ("amqp://chat:a%40b@h/v", "amqp://chat:***@h/v"),
        ("amqp://h@h:5672/", "amqp://h@h:5672/"),
        ("postgresql://h/chat?password=hush&sslmode=require", "postgresql://h/chat?password=***&sslmode=require"),
        ("memory:", "memory:"),
    ],
)
def test_a_url_is_shown_without_its_password(url: str, shown: str) -> None:
    assert config.redact_password(url) == shown
