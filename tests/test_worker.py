"""chat/worker.py: what comes on standard input. tests/test_cli.py has it with processes."""

import os
import queue
import signal
import sys

import pytest

from chat import worker
from tests.support.waiting import PATIENCE_S


def test_lines_are_heard_whole_however_they_come_and_the_end_stops_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    heard: queue.Queue[object] = queue.Queue()
    theirs, ours = os.pipe()
    with open(theirs, "rb") as stdin, open(ours, "wb", buffering=0) as supervisor:
        monkeypatch.setattr(sys, "stdin", stdin)
        monkeypatch.setattr(os, "kill", lambda *said: heard.put(said))
        worker.stop_on_stdin_eof(heard.put)
        supervisor.write(b"one\ntw")
        assert heard.get(timeout=PATIENCE_S) == b"one"
        supervisor.write(b"o\nthree\nhalf")
        assert [heard.get(timeout=PATIENCE_S) for _ in range(2)] == [b"two", b"three"]
        supervisor.close()
        assert heard.get(timeout=PATIENCE_S) == (os.getpid(), signal.SIGTERM)


def test_a_server_without_a_supervisor_is_the_only_worker() -> None:
    (alone,) = worker.Worker().all
    assert (alone.number, alone.pid, alone.state.value, alone.restarts) == (1, os.getpid(), "listening", 0)
