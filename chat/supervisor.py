"""`chat run`: starts the server and the bot as processes, and ends when either does.

    chat run ─┬─ chat serve --until-eof      (and --or-next-port, unless PORT is set)
              └─ chat bot --until-eof      (not with AMQP_URL=memory:, where the bot lives in the server)

A signal goes to both. If this process is killed, their standard input ends, and they stop as on SIGTERM.
"""

import logging
import os
import signal
import subprocess
import sys
import threading

from chat.config import Settings

log = logging.getLogger(__name__)

STOP_TIMEOUT_S = 30  # several times what the processes need to stop in good order; then they are killed
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)  # Ctrl-C, a supervisor, a closed terminal
GOOD_EXITS = {0, -signal.SIGTERM}  # the latter, when a process had not begun to handle signals


def run(settings: Settings, *, or_next_port: bool = False) -> int:
    """Start the processes, wait for the end of one, stop the others. Returns the exit status: 0 if a signal asked for
    the stop and all ended well, else 1. Raises `ConfigError`.

    or_next_port: if another program has the port, the server takes the next free one.
    """
    settings.require_jwt_secret()
    serve = ["serve", "--or-next-port"] if or_next_port else ["serve"]
    return _Supervisor([serve] if settings.uses_memory_broker else [serve, ["bot"]]).run()


class _Supervisor:
    def __init__(self, commands: list[list[str]]) -> None:
        self._commands = commands
        self._processes: list[subprocess.Popen[bytes]] = []
        self._signalled: set[int] = set()  # pids: a second signal would cut a stop short
        self._stopping = False

    def run(self) -> int:
        for number in STOP_SIGNALS:
            signal.signal(number, lambda *_: self._stop())
        signal.signal(signal.SIGALRM, lambda *_: self._kill())
        self._start()
        if self._stopping:  # the signal came while a process was being started
            self._stop()
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT)
        failed = not self._stopping  # one ended without being asked to: the others go with it
        if failed:
            self._stop()
        exits = {process.wait() for process in self._processes}
        return 1 if failed or exits - GOOD_EXITS else 0

    def _start(self) -> None:
        child_stdin, _ = os.pipe()  # nothing is written; our end is closed when this process ends, however it does
        for command in self._commands:
            # A session of its own: Ctrl-C reaches this process alone, which then stops the others in good order.
            self._processes.append(
                subprocess.Popen(
                    [sys.executable, "-m", "chat", *command, "--until-eof"], stdin=child_stdin, start_new_session=True
                )
            )
        os.close(child_stdin)

    def _stop(self) -> None:
        if not self._stopping:
            signal.alarm(STOP_TIMEOUT_S)
        self._stopping = True
        for process in self._processes:
            if process.pid not in self._signalled and process.poll() is None:
                self._signalled.add(process.pid)
                process.terminate()

    def _kill(self) -> None:
        for process in self._processes:
            if process.poll() is None:
                log.error("process %d has not stopped after %d s and is killed", process.pid, STOP_TIMEOUT_S)
                process.kill()


def stop_on_stdin_eof() -> None:
    """Stop this process, as on SIGTERM, when its standard input ends: the supervisor holds the other end."""

    def watch() -> None:
        while os.read(sys.stdin.fileno(), 1024):
            pass
        log.warning("standard input has ended: stopping")
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()
