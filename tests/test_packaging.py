"""The wheel: what it contains, and that it runs where nothing else of this project is."""

import asyncio
import contextlib
import os
import shutil
import subprocess
import sys
import venv
import zipfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from secrets import token_hex

import pytest

from chat import config
from chat.db import migrations
from devtools import schema
from tests.support.client import Chat
from tests.support.processes import free_port
from tests.support.settings import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]  # pip may have to download everything
UNTRACKED = (".*", "__pycache__", "build", "dist", "*.egg-info")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel built from a copy of the checkout: setuptools would add the remains of earlier builds to it."""
    folder = tmp_path_factory.mktemp("wheel")
    shutil.copytree(ROOT, folder / "source", ignore=shutil.ignore_patterns(*UNTRACKED))
    pip(sys.executable, "wheel", "--no-deps", "--wheel-dir", str(folder), str(folder / "source"))
    (path,) = folder.glob("chat_server-*.whl")
    return path


@pytest.fixture(scope="module")
def chat_command(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The console script `chat` in an environment that has only the wheel and its locked requirements."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=True)
    python = str(folder / "bin" / "python")
    pip(python, "install", "--require-hashes", "-r", str(ROOT / "requirements.lock"))
    pip(python, "install", "--no-deps", "--no-index", str(wheel))
    return folder / "bin" / "chat"


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """An empty database."""
    with schema.scratch(config.load(dotenv=ROOT / ".env").database_url) as scratch:
        yield scratch


def pip(python: str, *arguments: str) -> None:
    command = [python, "-m", "pip", *arguments, "--quiet", "--disable-pip-version-check"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


def run(chat_command: Path, folder: Path, *arguments: str, **settings: str) -> str:
    """What `chat ARGUMENTS` prints, in a folder without a checkout."""
    result = subprocess.run(
        [chat_command, *arguments], cwd=folder, env=environment(settings), capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def environment(settings: dict[str, str]) -> dict[str, str]:
    return {"PATH": os.environ["PATH"], **settings}


@contextlib.asynccontextmanager
async def serving(chat_command: Path, folder: Path, settings: dict[str, str]) -> AsyncIterator[Chat]:
    """`chat serve`, once it listens."""
    server = await asyncio.create_subprocess_exec(
        chat_command, "serve", cwd=folder, env=environment(settings), stderr=asyncio.subprocess.PIPE
    )
    try:
        assert server.stderr is not None
        await asyncio.wait_for(server.stderr.readuntil(b"listening on"), 30)
        async with Chat(f"http://127.0.0.1:{settings['PORT']}") as chat:
            yield chat
    finally:
        server.terminate()
        await server.communicate()


def test_the_wheel_contains_the_server_and_nothing_else(wheel: Path) -> None:
    def files(folder: str, pattern: str, prefix: str) -> set[str]:
        paths = list((ROOT / folder).glob(pattern))
        assert paths
        return {f"{prefix}/{path.relative_to(ROOT / folder)}" for path in paths}

    expected = (
        files("chat", "**/*.py", "chat")
        | files("chat/web", "*", "chat/web")
        | files("sql", "*/*.sql", "chat/sql")
        | files("migrations", "*.sql", "chat/migrations")
    )
    with zipfile.ZipFile(wheel) as archive:
        contained = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert contained == expected


def test_the_command_knows_its_commands(chat_command: Path, tmp_path: Path) -> None:
    shown = run(chat_command, tmp_path, "--help")
    assert "serve" in shown and "db-migrate" in shown


async def test_the_command_migrates_and_serves_from_an_empty_folder(
    chat_command: Path, tmp_path: Path, url: str
) -> None:
    settings = {
        "DATABASE_URL": url,
        "AMQP_URL": "memory:",
        "JWT_SECRET": token_hex(32),
        "PORT": str(free_port()),
    }
    migrated = await asyncio.to_thread(run, chat_command, tmp_path, "db-migrate", **settings)
    assert migrated == f"applied {', '.join(migrations.migration_names())}\n"
    async with serving(chat_command, tmp_path, settings) as chat:
        async with chat.http.get("/") as response:
            assert response.status == 200
            assert 'src="/web/' in await response.text()
        async with chat.http.get("/web/main.js") as response:
            assert response.status == 200
            assert response.content_type == "text/javascript"
        alice = await chat.sign_up("alice")
        assert [room["name"] for room in await alice.gets("/v1/chat/rooms")] == ["General", "Random"]
    assert list(tmp_path.iterdir()) == []
