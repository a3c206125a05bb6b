"""The worker's end of its supervisor: standard input, a socket of which the supervisor holds the other end.

    supervisor ── how all workers are, one JSON list a line ─▶ worker
    supervisor ◀─ a line, when the worker listens ──────────── worker

It ends when the supervisor ends, however that does; then the worker stops, as on SIGTERM.
"""

import logging
import os
import signal
import sys
import threading
from collections.abc import Callable

from chat.protocol.schemas import WorkerBody, WorkerState, decode_workers

log = logging.getLogger(__name__)

READ_BYTES = 65_536


class Worker:
    """One server process.

    number: from 1; a server without a supervisor is the only one
    all: how every worker is, as the supervisor said last; this one alone if there is no supervisor
    """

    def __init__(self, number: int = 1) -> None:
        self.number = number
        self.all = [WorkerBody(number, os.getpid(), WorkerState.LISTENING, 0)]

    def follow_supervisor(self) -> None:
        """Hear how the others are, and stop when the supervisor has ended."""
        stop_on_stdin_eof(self._update)

    def report_listening(self) -> None:
        """Tell the supervisor that this worker accepts connections."""
        os.write(sys.stdin.fileno(), b"listening\n")

    def _update(self, line: bytes) -> None:
        self.all = decode_workers(line)  # by another thread, but in one step


def stop_on_stdin_eof(hear: Callable[[bytes], None] = lambda line: None) -> None:
    """Stop this process, as on SIGTERM, when its standard input ends. `hear` gets each line that comes before."""

    def read() -> None:
        rest = b""
        while chunk := os.read(sys.stdin.fileno(), READ_BYTES):
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                hear(line)
        log.warning("standard input has ended: stopping")
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=read, daemon=True).start()
