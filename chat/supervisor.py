"""`chat run` and, with several workers, `chat serve`: starts processes, starts them again, and stops them together.

    chat run ─┬─ chat serve --worker 1      (and --or-next-port, unless PORT is set)
              └─ chat bot --until-eof       (not in `chat serve`, nor with AMQP_URL=memory:, where the server has it)

    WORKERS=2 chat run ─┬─ chat serve --worker 1     on one port, which the supervisor holds: the kernel gives each new
                        ├─ chat serve --worker 2     connection to one of the workers
                        └─ chat bot --until-eof

A single server is not started again: when it or the bot ends, all ends. Of several workers and their bot, one that ends
is started again, unless that happened during the start of all or too often. A signal stops all at the same time. If
the supervisor is killed, their standard input ends, and they stop as on SIGTERM. worker.py is the other end of it.
"""

import asyncio
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable
from contextlib import ExitStack, suppress

from chat.config import Settings
from chat.http.listening_sockets import announce, hold_first_free, or_cannot_listen, ports_to_try, url_of
from chat.protocol.codec import encode
from chat.protocol.schemas import WorkerBody, WorkerState

log = logging.getLogger(__name__)

STOP_TIMEOUT_S = 30  # several times what the processes need to stop in good order; then they are killed
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)  # Ctrl-C, a supervisor, a closed terminal
GOOD_EXITS = {0, -signal.SIGTERM}  # the latter, when a process had not begun to handle signals
MAX_RESTARTS = 5  # of one process in a row; then the fault is not one that a new start removes
RESTART_DELAY_S = 0.5  # before the first of them; each further one waits twice as long
SETTLED_S = 60.0  # a process that has run for so long begins to count anew


def run(settings: Settings, *, bot: bool = True, or_next_port: bool = False) -> int:
    """Start the processes, and stop them when a signal comes or one has failed. Returns the exit status: 0 if a signal
    asked for the stop and all ended well, else 1. Raises `CannotListen`, `ConfigError`.

    bot: whether to start the bot, too
    or_next_port: if another program has the port, the next free one is taken
    """
    settings.require_jwt_secret()
    bots = [["bot", "--until-eof"]] if bot and not settings.uses_memory_broker else []
    workers = [["serve", "--worker", str(number)] for number in range(1, settings.workers + 1)]
    if len(workers) == 1:
        workers[0] += ["--or-next-port"] if or_next_port else []
        return asyncio.run(_Supervisor(workers, bots).run())
    with ExitStack() as stack:
        with or_cannot_listen(settings.host, settings.port):
            held = hold_first_free(settings.host, ports_to_try(settings.port, or_next=or_next_port))
        for each in held:
            stack.enter_context(each)
        return asyncio.run(_Supervisor(workers, bots, held[0]).run())


class _Process:
    """One of the supervisor's processes; it stays the same one when it is started again."""

    def __init__(self, command: list[str]) -> None:
        self.name = "chat " + " ".join(command[:3])
        self.command = command
        self.state = WorkerState.STARTING
        self.restarts = 0
        self._process: asyncio.subprocess.Process | None = None
        self._stdin: asyncio.StreamWriter | None = None

    async def run_once(self, environ: dict[str, str], on_change: Callable[[], None]) -> int:
        """Start it and wait for its end; return its exit status. `on_change` is called after each change of it."""
        ours, theirs = socket.socketpair()
        reader, self._stdin = await asyncio.open_connection(sock=ours)
        with theirs:
            # A session of its own: Ctrl-C reaches the supervisor alone, which then stops all in good order.
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "chat", *self.command),
                stdin=theirs.fileno(),
                env=environ,
                start_new_session=True,
            )
        if self.state is WorkerState.STOPPING:  # the signal came while it was being started
            self.stop()
        on_change()
        with suppress(ConnectionError):  # it has ended
            if await reader.readline() and self.state is WorkerState.STARTING:
                self.state = WorkerState.LISTENING
                on_change()
        status = await self._process.wait()
        self._stdin.close()
        return status

    def stop(self) -> None:
        """Stop it, if it runs. To be called once: a second signal would cut its stop short."""
        self.state = WorkerState.STOPPING
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it at once, if it runs."""
        if self._signal(signal.SIGKILL):
            log.error("%s has not stopped after %d s and is killed", self.name, STOP_TIMEOUT_S)

    def tell(self, line: bytes) -> None:
        """Write a line to its standard input, if it runs."""
        if self._stdin is not None and not self._stdin.is_closing():
            self._stdin.write(line)

    def body(self, number: int) -> WorkerBody:
        """How it is, as a worker with this number."""
        return WorkerBody(number, self._process.pid if self._process else 0, self.state, self.restarts)

    def _signal(self, number: signal.Signals) -> bool:
        if self._process is None or self._process.returncode is not None:
            return False
        with suppress(ProcessLookupError):  # it has just ended
            self._process.send_signal(number)
        return True


class _Supervisor:
    """held: a socket that holds the port of several workers; a single one has a port of its own."""

    def __init__(self, workers: list[list[str]], bots: list[list[str]], held: socket.socket | None = None) -> None:
        self._workers = [_Process(command) for command in workers]
        self._processes = [*self._workers, *(_Process(command) for command in bots)]
        self._held = held
        self._environ = {**os.environ, "PORT": str(held.getsockname()[1])} if held else dict(os.environ)
        self._started = False  # whether all workers have listened
        self._failed = False
        self._stopping = asyncio.Event()

    async def run(self) -> int:
        for number in STOP_SIGNALS:
            asyncio.get_running_loop().add_signal_handler(number, self._stop)
        await asyncio.gather(*map(self._keep_running, self._processes))
        return 1 if self._failed else 0

    async def _keep_running(self, process: _Process) -> None:
        """Start a process, and start it again when it ends, until all stop."""
        clock, in_a_row = asyncio.get_running_loop().time, 0
        while True:
            since = clock()
            status = await process.run_once(self._environ, self._on_change)
            if self._stopping.is_set():
                self._failed |= status not in GOOD_EXITS
                return
            in_a_row = 0 if clock() - since > SETTLED_S else in_a_row
            if reason := self._give_up(in_a_row):
                log.error("%s has ended with status %d %s: stopping", process.name, status, reason)
                self._failed = True
                return self._stop()
            log.warning("%s has ended with status %d and is started again", process.name, status)
            process.state = WorkerState.RESTARTING
            self._on_change()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), RESTART_DELAY_S * 2**in_a_row)
            if self._stopping.is_set():
                return
            in_a_row += 1
            process.restarts += 1
            process.state = WorkerState.STARTING

    def _give_up(self, restarts_in_a_row: int) -> str:
        """Why a process that has ended is not started again; "" if it is."""
        if not self._held:
            return "without being asked to"
        if not self._started:
            return "during the start"
        if restarts_in_a_row >= MAX_RESTARTS:
            return f"after {restarts_in_a_row} restarts in a row; its last lines say why"
        return ""

    def _on_change(self) -> None:
        """Tell every worker how all are; once all listen, tell the user."""
        line = encode([each.body(number) for number, each in enumerate(self._workers, 1)]) + b"\n"
        for each in self._workers:
            each.tell(line)
        if self._held and not self._started and all(each.state is WorkerState.LISTENING for each in self._workers):
            self._started = True
            announce(url_of(self._held))

    def _stop(self) -> None:
        if self._stopping.is_set():
            return
        self._stopping.set()
        for each in self._processes:
            each.stop()
        self._on_change()
        asyncio.get_running_loop().call_later(STOP_TIMEOUT_S, self._kill)

    def _kill(self) -> None:
        for each in self._processes:
            each.kill()
