"""devtools/postgres.py, with a real private server."""

import os
import pwd
import shutil
import signal
import socket
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg2
import pytest

from devtools import processes
from devtools.postgres import PrivatePostgres, probe
from devtools.processes import ProbeResult, ServiceError

pytestmark = pytest.mark.services


@pytest.fixture(scope="module")
def server() -> Iterator[PrivatePostgres]:
    folder = Path(tempfile.mkdtemp(prefix="chat-test-"))
    folder.chmod(0o755)  # the server's user has to enter it; pytest's own folders are closed to other users
    with socket.create_server(("127.0.0.1", 0)) as foreign:  # the remembered port is taken
        taken = foreign.getsockname()[1]
        (folder / "server").mkdir()
        (folder / "server" / "url").write_text(f"postgresql://chat:remembered@127.0.0.1:{taken}/chat\n")
        postgres = PrivatePostgres(folder / "server")
        if postgres.bin() is None:
            pytest.skip("PostgreSQL is not installed")
        postgres.start()
    yield postgres
    postgres.stop()
    assert not postgres.is_running()
    shutil.rmtree(folder)


def fetch_value(url: str, query: str) -> object:
    connection = psycopg2.connect(url)
    try:
        with connection.cursor() as cursor:
            cursor.execute(query)
            row = cursor.fetchone()
            return row and row[0]
    finally:
        connection.close()


def test_it_chooses_a_free_port_and_keeps_its_password(server: PrivatePostgres) -> None:
    assert server.is_running()
    assert "chat:remembered@127.0.0.1" in server.url
    assert probe(server.url) is ProbeResult.ACCEPTED


def test_another_port_is_taken_if_the_chosen_one_is_lost_before_the_bind(monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Path(tempfile.mkdtemp(prefix="chat-test-"))
    folder.chmod(0o755)
    postgres = PrivatePostgres(folder / "server")
    if postgres.bin() is None:
        pytest.skip("PostgreSQL is not installed")
    look = processes.free_port
    chosen: list[int] = []

    def overtaken(first: int) -> int:
        """Choose a port that another program takes at once. That happens twice: for initdb, and for the start."""
        chosen.append(taken if len(chosen) < 2 else look(first))
        return chosen[-1]

    monkeypatch.setattr(processes, "free_port", overtaken)
    try:
        with socket.create_server(("127.0.0.1", 0)) as rival:
            taken = rival.getsockname()[1]
            postgres.start()
            assert chosen[:2] == [taken, taken] and postgres.port == chosen[2] != taken
            assert probe(postgres.url) is ProbeResult.ACCEPTED
    finally:
        postgres.stop()
        shutil.rmtree(folder)


def test_it_does_not_run_as_root_and_its_data_is_private(server: PrivatePostgres) -> None:
    owner = pwd.getpwuid(server.data.stat().st_uid)
    assert owner.pw_uid == (os.getuid() or pwd.getpwnam(processes.server_user("postgres") or "").pw_uid)
    assert owner.pw_uid != 0
    assert stat.S_IMODE(server.folder.stat().st_mode) == 0o700


def test_it_knows_the_case_of_letters_and_writes_to_disk(server: PrivatePostgres) -> None:
    assert fetch_value(server.url, "SELECT lower('É') = 'é' AND 'É' ~* 'é'") is True
    assert fetch_value(server.url, "SHOW fsync") == "on"
    assert fetch_value(server.url, "SHOW server_encoding") == "UTF8"
    assert fetch_value(server.url, "SHOW listen_addresses") == "127.0.0.1"


def test_a_wrong_password_is_refused(server: PrivatePostgres) -> None:
    assert probe(server.url.replace("remembered", "guessed")) is ProbeResult.REFUSED


def test_a_missing_database_is_created(server: PrivatePostgres) -> None:
    other = server.url.removesuffix("chat") + "other"
    assert probe(other) is ProbeResult.ACCEPTED
    assert fetch_value(other, "SELECT current_database()") == "other"


def test_it_comes_back_after_a_kill_with_what_was_committed(server: PrivatePostgres) -> None:
    connection = psycopg2.connect(server.url)
    with connection, connection.cursor() as cursor:
        cursor.execute("CREATE TABLE kept AS SELECT 42 AS answer")
    pid = int((server.data / "postmaster.pid").read_text().splitlines()[0])
    os.kill(pid, signal.SIGKILL)
    assert processes.wait_until(lambda: not server.is_running(), 5)
    url = server.url
    server.start()
    assert server.url == url
    assert fetch_value(url, "SELECT answer FROM kept") == 42
    connection.close()


def test_data_of_another_version_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "PG_VERSION").write_text("9\n")
    with pytest.raises(ServiceError, match="PostgreSQL 9, which wrote"):
        PrivatePostgres(tmp_path).start()
