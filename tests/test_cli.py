"""chat/cli.py, chat/supervisor.py and devtools/__main__.py: each command as it is typed."""

import asyncio
import dataclasses
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager, closing, suppress
from pathlib import Path
from typing import Any

import psycopg2
import pytest

from chat import cli, config
from chat.app import honour_pending_cancel
from chat.db import migrations
from chat.protocol.close_codes import CloseCode
from devtools import __main__ as devtools
from devtools import processes, schema
from tests.support.client import Chat, Person, WebsocketClient
from tests.support.processes import children, free_port
from tests.support.proxy import Proxy
from tests.support.server import Process, process
from tests.support.settings import ROOT, as_environment, settings_for
from tests.support.waiting import PATIENCE_S, eventually

COMMANDS = {
    "chat": {"run", "serve", "bot", "db-migrate", "db-status", "db-rollback", "db-renew-epoch"},
    "devtools": {"services", "services-stop", "db-new", "db-dump", "db-seed", "db-reset"},
}
ELSEWHERE = "postgresql://chat:hush@db.example.com/chat"


Typed = Callable[..., tuple[int, str, str]]


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Typed:
    """Runs a command in an empty folder: how it ended, what it printed, and its error."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cli, "log_to_stderr", lambda level, worker=None: None)
    for each in dataclasses.fields(config.Settings):
        monkeypatch.delenv(each.name.upper(), raising=False)

    def ended(words: tuple[str, ...]) -> tuple[int, str]:
        try:
            (devtools.main if words[0] in COMMANDS["devtools"] else cli.main)(list(words))
        except SystemExit as end:  # as the interpreter does it
            return (1, f"{end.code}\n") if isinstance(end.code, str) else (end.code or 0, "")
        return 0, ""

    def run(*words: str, **environ: str) -> tuple[int, str, str]:
        with pytest.MonkeyPatch.context() as patch, ThreadPoolExecutor(1) as thread:  # loops of its own
            for name, value in environ.items():
                patch.setenv(name, value)
            code, error = thread.submit(ended, words).result()
        out, err = capsys.readouterr()
        return code, out, err + error

    return run


@pytest.fixture
def url() -> Iterator[str]:
    """An empty database."""
    with schema.scratch(config.load(dotenv=ROOT / ".env").database_url) as scratch:
        yield scratch


def count(url: str, table: str) -> int:
    with closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
        cursor.execute(f"SELECT count(*) FROM {table}")
        row = cursor.fetchone()
        assert row is not None
        return int(row[0])


# --- words --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("program", COMMANDS)
def test_help_lists_each_command(program: str) -> None:
    shown = subprocess.run([sys.executable, "-m", program, "--help"], capture_output=True, text=True, check=True)
    listed = re.findall(r"^    ([a-z-]+)\s", shown.stdout, re.MULTILINE)
    assert set(listed) == COMMANDS[program] and len(listed) == len(COMMANDS[program])


@pytest.mark.parametrize(("variable", "program"), [("CHAT", "chat"), ("DEVTOOLS", "devtools")])
def test_the_makefile_knows_no_other_commands(variable: str, program: str) -> None:
    used = re.findall(rf"\$\({variable}\) ([a-z-]+)", (ROOT / "Makefile").read_text(encoding="utf-8"))
    assert used and set(used) <= COMMANDS[program]


def test_an_unknown_command_lists_the_known_ones(command: Typed) -> None:
    code, _, err = command("dance")
    assert code == 2
    assert "dance" in err and "db-migrate" in err


@pytest.mark.parametrize(
    ("words", "environ", "expected"),
    [
        (["serve"], {}, "JWT_SECRET has 0 bytes: at least 32 random ones are expected"),
        (["run"], {}, "JWT_SECRET has 0 bytes: at least 32 random ones are expected"),
        (["serve"], {"PORT": "http"}, "PORT='http' cannot be read: a whole number is expected"),
        (["bot"], {"AMQP_URL": "memory:"}, "the bot runs in the server"),
        (["db-new", "Two words"], {}, "NAME='Two words'"),
        (["db-reset"], {"DATABASE_URL": ELSEWHERE}, "The database is on db.example.com, not on this machine"),
        (["db-rollback"], {"DATABASE_URL": ELSEWHERE}, "The database is on db.example.com, not on this machine"),
        (["db-reset"], {"DATABASE_URL": "postgresql://localhost/chat?host=db.example.com"}, "db.example.com"),
    ],
)
def test_an_error_is_one_line(command: Typed, words: list[str], environ: dict[str, str], expected: str) -> None:
    code, out, err = command(*words, **environ)
    assert (code, out) == (1, "")
    assert err.startswith("chat: ") and err.count("\n") == 1
    assert expected in err
    assert "hush" not in err


# --- the database -------------------------------------------------------------------------------------


def test_a_database_is_migrated_listed_and_taken_back(command: Typed, url: str) -> None:
    *_, last = names = migrations.migration_names()
    assert command("db-status", DATABASE_URL=url) == (0, "".join(f"missing {name}\n" for name in names), "")
    assert command("db-migrate", DATABASE_URL=url) == (0, f"applied {', '.join(names)}\n", "")
    assert command("db-migrate", DATABASE_URL=url) == (0, "the schema is up to date\n", "")
    assert command("db-rollback", DATABASE_URL=url) == (0, f"took back {last}\n", "")
    code, out, _ = command("db-status", DATABASE_URL=url)
    assert (code, out.splitlines()[-1]) == (0, f"missing {last}")


@pytest.mark.slow
def test_a_reset_leaves_seed_rows_and_a_rollback_of_them_is_refused(command: Typed, url: str) -> None:
    code, out, err = command("db-reset", DATABASE_URL=url)
    assert (code, err) == (0, "")
    assert re.search(r"from sql/schema\.sql\nadded alice@example\.com and bob@example\.com", out)
    rows = {table: count(url, table) for table in ("users", "rooms", "events")}
    assert rows == {"users": 3, "rooms": 3, "events": 10}  # with two joins of each new account
    code, out, _ = command("db-seed", DATABASE_URL=url)
    assert (code, out) == (0, "alice or bob exists already: nothing was added\n")
    for name in reversed(migrations.migration_names()[migrations.migration_names().index("0007.defaults") + 1 :]):
        assert command("db-rollback", DATABASE_URL=url) == (0, f"took back {name}\n", "")
    code, _, err = command("db-rollback", DATABASE_URL=url)
    assert code == 1 and err.startswith("chat: The migration was not rolled back") and err.count("\n") == 1
    assert {table: count(url, table) for table in rows} == rows


def test_a_new_epoch_is_printed(command: Typed, url: str) -> None:
    schema.reset(url)
    printed = [command("db-renew-epoch", DATABASE_URL=url) for _ in range(2)]
    assert all(code == 0 and re.fullmatch(r"the epoch is now [0-9a-f-]{36}\n", out) for code, out, _ in printed)
    assert printed[0] != printed[1]


# --- running ------------------------------------------------------------------------------------------


async def test_a_port_in_use_is_named(database_url: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        async with process("serve", settings_for(database_url), port=port) as server:
            assert await server.ended() == 1
    assert server.lines[-1].startswith(f"chat: cannot listen on 127.0.0.1:{port} (")
    assert "choose one with PORT=" in server.lines[-1]
    assert "Traceback" not in "".join(server.lines)


async def test_a_stop_that_a_library_swallows_ends_the_start() -> None:
    async def start() -> None:
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(PATIENCE_S)
        await honour_pending_cancel(None)
        await asyncio.sleep(PATIENCE_S)

    starting = asyncio.create_task(start())
    await asyncio.sleep(0)
    starting.cancel()
    await asyncio.wait([starting])
    assert starting.cancelled()


def commands(running: Process) -> dict[str, int]:
    """The pids of what `chat run` has started, by their command."""
    pids = children(running.process.pid)
    return {Path(f"/proc/{each}/cmdline").read_text().split("\0")[3]: each for each in pids}


async def both_run(running: Process) -> dict[str, int]:
    """Returns when server and bot are ready."""
    for expected in ("listening on http://localhost:", "the bot listens"):
        await eventually(running.has_logged, expected)
    pids = commands(running)
    assert pids.keys() == {"serve", "bot"}
    return pids


@pytest.fixture
def two(database_url: str) -> config.Settings:
    """Settings with which `chat run` starts two processes."""
    found = settings_for(database_url)
    if found.uses_memory_broker:
        pytest.skip("the bot runs inside the server: AMQP_URL=memory:")
    return found


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_run_starts_server_and_bot_and_ends_both(two: config.Settings, number: signal.Signals) -> None:
    async with process("run", two) as running:
        pids = await both_run(running)
        async with Chat(f"http://127.0.0.1:{running.port}") as chat:
            assert (await chat.asks("GET", "/health/ready"))["database"] == "ok"
        running.signal(number)
        running.signal(number)  # a second signal changes nothing
        assert await running.ended() == 0
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids.values())
    assert "Traceback" not in "".join(running.lines)


@pytest.mark.slow
@pytest.mark.parametrize("dies", ["serve", "bot"])
async def test_run_ends_when_one_of_them_dies(two: config.Settings, dies: str) -> None:
    async with process("run", two) as running:
        pids = await both_run(running)
        os.kill(pids[dies], signal.SIGKILL)
        assert await running.ended() == 1
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids.values())


@pytest.mark.slow
async def test_a_run_that_is_killed_takes_both_with_it(two: config.Settings) -> None:
    async with process("run", two) as running:
        pids = await both_run(running)
        async with Chat(f"http://127.0.0.1:{running.port}") as chat:
            client = await (await chat.sign_up("alice")).connects()
            running.signal(signal.SIGKILL)
            assert await running.ended() == -signal.SIGKILL
            assert await client.closed() == CloseCode.SERVICE_RESTART  # in good order
        await eventually(lambda: not any(processes.command_of(pid) for pid in pids.values()))
        socket.create_server(("127.0.0.1", running.port)).close()
    assert "Traceback" not in "".join(running.lines)


async def test_a_run_that_is_stopped_at_once_leaves_no_process_behind(database_url: str) -> None:
    environ = {"DATABASE_URL": database_url, "AMQP_URL": "amqp://127.0.0.1:1/", "JWT_SECRET": "x" * 32}
    run = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "chat", "run"), cwd=ROOT, env={**os.environ, **environ, "PORT": str(free_port())}
    )
    await eventually(lambda: bool(children(run.pid)))
    pids = children(run.pid)  # perhaps one of two
    run.terminate()
    assert await asyncio.wait_for(run.wait(), PATIENCE_S) == 0
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)


@pytest.mark.slow
async def test_a_child_that_does_not_stop_is_killed(database_url: str) -> None:
    quick = "from chat import cli, supervisor; supervisor.STOP_TIMEOUT_S = 2; cli.main(['run'])"
    port = free_port()
    environ = {"DATABASE_URL": database_url, "AMQP_URL": "memory:", "JWT_SECRET": "x" * 32, "PORT": str(port)}
    run = await asyncio.create_subprocess_exec(sys.executable, "-c", quick, cwd=ROOT, env={**os.environ, **environ})
    await eventually(lambda: processes.listens("127.0.0.1", port))
    (child,) = children(run.pid)
    os.kill(child, signal.SIGSTOP)
    await eventually(lambda: ") T " in Path(f"/proc/{child}/stat").read_text())
    run.terminate()
    assert await asyncio.wait_for(run.wait(), PATIENCE_S) == 1
    assert not Path(f"/proc/{child}").exists()


@pytest.mark.slow
async def test_with_the_memory_broker_run_starts_the_server_alone(database_url: str) -> None:
    async with process("run", settings_for(database_url, amqp_url="memory:")) as running:
        assert commands(running).keys() == {"serve"}
        running.signal(signal.SIGTERM)
        assert await running.ended() == 0


# --- several workers ----------------------------------------------------------------------------------


@pytest.fixture
def shared(two: config.Settings) -> config.Settings:
    """Settings with which `chat run` starts two workers and a bot."""
    return dataclasses.replace(two, workers=2)


def restarting(delay_s: float = 0.01, *, at_most: int, settled_s: float = 60) -> tuple[str, str]:
    """The program `chat` with other limits for starting workers again."""
    limits = f"supervisor.RESTART_DELAY_S, supervisor.MAX_RESTARTS, supervisor.SETTLED_S = {delay_s}, {at_most}, "
    return "-c", f"from chat import cli, supervisor; {limits}{settled_s}; cli.main()"


@asynccontextmanager
async def listening(command: str, settings: config.Settings, **options: Any) -> AsyncIterator[Process]:
    """A command whose workers all listen."""
    async with process(command, settings, **options) as running:
        await eventually(running.has_logged, "listening on http://localhost:")
        yield running


async def workers_of(chat: Chat) -> dict[int, dict[str, Any]]:
    """What `/health/ready` lists, by number."""
    return {each["number"]: each for each in (await chat.asks("GET", "/health/ready"))["workers"]}


async def until(chat: Chat, number: int, **fields: Any) -> dict[str, Any]:
    """Ask until a worker is listed with these fields; return it."""
    async with asyncio.timeout(PATIENCE_S):
        while not fields.items() <= (worker := (await workers_of(chat))[number]).items():
            await asyncio.sleep(0.02)
    return worker


async def one_client_of_each(running: Process, person: Person, stack: AsyncExitStack) -> dict[int, WebsocketClient]:
    """A websocket of each of two workers, by their numbers."""
    found: dict[int, WebsocketClient] = {}
    while len(found) < 2:  # the kernel chooses
        chat = await stack.enter_async_context(running.client())
        number = (await chat.asks("GET", "/health/ready"))["worker"]  # the websocket opens on the same connection
        if number not in found:
            found[number] = await person.connects(chat=chat)
    return found


@pytest.mark.slow
async def test_two_workers_share_the_port_and_their_clients_hear_each_other(shared: config.Settings) -> None:
    async with listening("run", shared) as running, AsyncExitStack() as stack:
        chat = await stack.enter_async_context(running.client())
        clients = await one_client_of_each(running, await chat.sign_up("alice"), stack)
        for client in clients.values():
            await client.resume()
        for number, client in clients.items():
            await client.says(f"by worker {number}")
            for each in clients.values():
                await each.hears(f"by worker {number}")
        listed = await workers_of(chat)
        assert {number: (each["state"], each["restarts"]) for number, each in listed.items()} == {
            1: ("listening", 0),
            2: ("listening", 0),
        }
        assert {each["pid"] for each in listed.values()} < set(children(running.process.pid))  # and the bot
    assert sum("listening on" in line for line in running.lines) == 1
    assert running.has_logged("[worker 1] chat.") and running.has_logged("[worker 2] chat.")


@pytest.mark.slow
async def test_serve_starts_workers_and_no_bot(shared: config.Settings) -> None:
    async with listening("serve", shared) as running:
        async with running.client() as chat:
            assert {each["pid"] for each in (await workers_of(chat)).values()} == set(children(running.process.pid))
        running.signal(signal.SIGINT)
        assert await running.ended() == 0


@pytest.mark.slow
async def test_a_killed_worker_comes_back_and_its_clients_resume(shared: config.Settings) -> None:
    async with listening("run", shared) as running, AsyncExitStack() as stack:
        chat = await stack.enter_async_context(running.client())
        alice = await chat.sign_up("alice")
        room = await alice.creates()
        clients = await one_client_of_each(running, alice, stack)
        for client in clients.values():
            await client.resume(room)
        victim = (await workers_of(chat))[1]
        os.kill(victim["pid"], signal.SIGKILL)
        assert await clients[1].closed() == 1006
        await clients[2].says("one is away", room)
        await clients[2].hears("one is away")
        fresh = await stack.enter_async_context(running.client())  # the other may be to the worker that was killed
        assert (await until(fresh, 1, state="listening", restarts=1))["pid"] != victim["pid"]
        assert (await workers_of(fresh))[2]["restarts"] == 0
        again = await one_client_of_each(running, alice, stack)
        await again[1].resume(room, after=1)
        assert again[1].has_heard(chatmessage="one is away", seq=2)
        await clients[2].says("both are here", room)
        await again[1].hears("both are here", seq=3)


@pytest.mark.slow
async def test_a_worker_that_dies_again_and_again_ends_all(shared: config.Settings) -> None:
    async with listening("run", shared, program=restarting(at_most=2)) as running:
        for restarts in range(3):
            async with running.client() as chat:
                worker = await until(chat, 1, state="listening", restarts=restarts)
            pids = children(running.process.pid)
            os.kill(worker["pid"], signal.SIGKILL)
        assert await running.ended() == 1
    assert running.has_logged("chat serve --worker 1 has ended with status -9 after 2 restarts in a row")
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)


@pytest.mark.slow
async def test_a_worker_that_has_run_for_long_begins_to_count_anew(shared: config.Settings) -> None:
    async with listening("serve", shared, program=restarting(at_most=1, settled_s=0)) as running:
        for restarts in range(3):
            async with running.client() as chat:
                worker = await until(chat, 1, state="listening", restarts=restarts)
            if restarts < 2:
                os.kill(worker["pid"], signal.SIGKILL)
        running.signal(signal.SIGTERM)
        assert await running.ended() == 0


@pytest.mark.slow
async def test_a_bot_of_several_workers_is_started_again_too(shared: config.Settings) -> None:
    async with listening("run", shared, program=restarting(at_most=2)) as running:
        await eventually(running.has_logged, "the bot listens")
        os.kill(commands(running)["bot"], signal.SIGKILL)
        await eventually(running.has_logged, "chat bot --until-eof has ended with status -9 and is started again")
        await eventually(lambda: sum("the bot listens" in line for line in running.lines) == 2)
        running.signal(signal.SIGTERM)
        assert await running.ended() == 0


@pytest.mark.slow
async def test_a_worker_that_cannot_start_ends_all_at_once(database_url: str, shared: config.Settings) -> None:
    with schema.scratch(database_url) as empty:
        async with process("run", dataclasses.replace(shared, database_url=empty)) as running:
            assert await running.ended() == 1
    assert running.has_logged("chat: The schema is older than the code")
    assert running.has_logged("has ended with status 1 during the start: stopping")
    assert not running.has_logged("started again")


@pytest.mark.slow
async def test_a_stop_ends_the_wait_for_a_restart(shared: config.Settings) -> None:
    async with listening("run", shared, program=restarting(1000, at_most=2)) as running, AsyncExitStack() as stack:
        chat = await stack.enter_async_context(running.client())
        clients = await one_client_of_each(running, await chat.sign_up("alice"), stack)
        os.kill((await workers_of(chat))[1]["pid"], signal.SIGKILL)
        await clients[1].closed()
        fresh = await stack.enter_async_context(running.client())
        await until(fresh, 1, state="restarting")
        running.signal(signal.SIGTERM)
        assert await clients[2].closed() == CloseCode.SERVICE_RESTART
        assert await running.ended() == 0


@pytest.mark.slow
@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 0), (signal.SIGKILL, -signal.SIGKILL)])
async def test_all_workers_drain_when_their_supervisor_stops(
    shared: config.Settings, number: signal.Signals, status: int
) -> None:
    async with listening("run", shared) as running, AsyncExitStack() as stack:
        chat = await stack.enter_async_context(running.client())
        clients = await one_client_of_each(running, await chat.sign_up("alice"), stack)
        pids = children(running.process.pid)
        running.signal(number)
        for client in clients.values():
            assert await client.closed() == CloseCode.SERVICE_RESTART  # in good order
        assert await running.ended() == status
        await eventually(lambda: not any(processes.command_of(pid) for pid in pids))
        socket.create_server(("127.0.0.1", running.port)).close()
    assert "Traceback" not in "".join(running.lines)


@pytest.mark.slow
@pytest.mark.parametrize(("command", "first", "second"), [("run", 2, 2), ("serve", 2, 1), ("serve", 1, 2)])
async def test_a_second_server_does_not_share_a_port(
    shared: config.Settings, command: str, first: int, second: int
) -> None:
    async with listening(command, dataclasses.replace(shared, workers=first)) as running:
        rival = dataclasses.replace(shared, workers=second)
        async with process(command, rival, port=running.port) as refused:
            assert await refused.ended() == 1
        assert refused.lines[-1].startswith(f"chat: cannot listen on 127.0.0.1:{running.port} (")
        assert "choose one with PORT=" in refused.lines[-1]
        async with running.client() as chat:
            assert len(await workers_of(chat)) == first


# --- the port -----------------------------------------------------------------------------------------


class Run:
    """`chat run` in a folder of its own, with what it has written to stderr."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.output = ""

    @property
    def port(self) -> int:
        """The port in "listening on …"; 0 until it is printed."""
        found = re.search(r"listening on http://localhost:(\d+),", self.output)
        return int(found[1]) if found else 0

    async def read(self) -> None:
        assert self.process.stderr is not None
        async for line in self.process.stderr:
            self.output += line.decode()


@asynccontextmanager
async def run_in(folder: Path, settings: config.Settings, **dotenv: str) -> AsyncIterator[Run]:
    """Start `chat run` in a folder whose .env has these settings, but PORT only if it is in `dotenv`."""
    folder.mkdir()
    given = as_environment(settings if settings.workers > 1 else dataclasses.replace(settings, amqp_url="memory:"))
    environ = {name: value for name, value in os.environ.items() if name not in given}
    del given["PORT"]
    (folder / ".env").write_text("".join(f"{name}={value}\n" for name, value in {**given, **dotenv}.items()))
    run = Run(
        await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "chat", "run"),
            cwd=folder,
            env={**environ, "PYTHONPATH": str(ROOT)},
            stderr=asyncio.subprocess.PIPE,
        )
    )
    reader = asyncio.create_task(run.read())
    try:
        yield run
    finally:
        if run.process.returncode is None:
            run.process.terminate()
        await asyncio.wait_for(run.process.wait(), PATIENCE_S)
        await reader


@pytest.mark.slow
async def test_servers_that_start_at_once_listen_each_on_a_port_of_its_own(database_url: str, tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        folders = [tmp_path / str(number) for number in range(6)]
        runs = [await stack.enter_async_context(run_in(folder, settings_for(database_url))) for folder in folders]
        await eventually(lambda: all(run.port for run in runs), within_s=4 * PATIENCE_S)
        assert len({run.port for run in runs}) == len(runs)
        for run in runs:
            async with Chat(f"http://127.0.0.1:{run.port}") as chat:
                assert (await chat.asks("GET", "/health/ready"))["database"] == "ok"


@pytest.mark.slow
async def test_several_workers_take_the_next_port_together(shared: config.Settings, tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        runs = [await stack.enter_async_context(run_in(tmp_path / name, shared)) for name in ("one", "two")]
        await eventually(lambda: all(run.port for run in runs), within_s=4 * PATIENCE_S)
        assert len({run.port for run in runs}) == len(runs)
        for run in runs:
            async with Chat(f"http://127.0.0.1:{run.port}") as chat:
                listed = await workers_of(chat)
                assert {each["pid"] for each in listed.values()} < set(children(run.process.pid))


@pytest.mark.slow
async def test_a_default_port_that_is_taken_during_the_start_makes_way_for_the_next(
    database_url: str, tmp_path: Path
) -> None:
    async with Proxy.before(database_url) as proxy, AsyncExitStack() as stack:
        proxy.refusing = True
        run = await stack.enter_async_context(run_in(tmp_path / "run", settings_for(proxy.instead_of(database_url))))
        await eventually(lambda: "waiting for PostgreSQL" in run.output)
        with suppress(OSError):  # another program of this machine may have it
            stack.enter_context(socket.create_server(("127.0.0.1", config.Settings.port)))
        proxy.refusing = False
        await eventually(lambda: run.port > config.Settings.port)
        async with Chat(f"http://127.0.0.1:{run.port}") as chat:
            assert (await chat.asks("GET", "/health/ready"))["database"] == "ok"


@pytest.mark.slow
async def test_a_port_that_the_user_set_makes_no_way_for_another(database_url: str, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        async with run_in(tmp_path / "run", settings_for(database_url), PORT=str(port)) as run:
            assert await asyncio.wait_for(run.process.wait(), PATIENCE_S) == 1
    assert f"chat: cannot listen on 127.0.0.1:{port} (" in run.output
    assert "choose one with PORT=" in run.output
    assert "listening on" not in run.output
