"""What the operating system lends to our private servers: ports, users, processes."""

import os
import pwd
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from enum import Enum
from pathlib import Path
from typing import Any

from chat.errors import OperatorError


class NotStarted(OperatorError):
    """A service cannot be had. The text is for people and says what to do."""


class Answer(Enum):
    """What a server says to credentials."""

    GOOD = "accepts"
    REFUSED = "listens, but refuses"
    SILENT = "does not answer at"


def say(text: str) -> None:
    """One line for each step, at once, also through a pipe."""
    print(f"services: {text}", flush=True)


def listens(host: str, port: int) -> bool:
    """Whether somebody accepts connections there."""
    try:
        with socket.create_connection((host, port), timeout=2):
            return True
    except OSError:
        return False


def free_port(first: int) -> int:
    """The first port from `first` on that nobody uses on 127.0.0.1.

    Counted upwards and not asked from the kernel: its choices come from the range of outgoing connections,
    one of which could sit on the port when the server starts again.
    """
    return next(port for port in range(first, first + 500) if _is_free(port))


def _is_free(port: int) -> bool:
    if listens("127.0.0.1", port):
        return False  # not left to bind: some systems allow it beside a server on 0.0.0.0
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def is_root() -> bool:
    return os.geteuid() == 0


def server_user(preferred: str) -> str | None:
    """Who a private server runs as: None is ourselves; root, whom PostgreSQL refuses, gets another."""
    if not is_root():
        return None
    for name in (preferred, "chat-services"):
        try:
            return pwd.getpwnam(name).pw_name
        except KeyError:
            continue
    made = subprocess.run(
        ["useradd", "--system", "--user-group", "--no-create-home", "--shell", "/bin/sh", "chat-services"],
        capture_output=True,
        text=True,
    )
    if made.returncode:
        raise NotStarted(f"cannot create the user chat-services ({made.stderr.strip()}): create it, then repeat")
    return "chat-services"


def as_user(user: str | None) -> dict[str, Any]:
    """The arguments with which `subprocess` runs a program as `user`."""
    if user is None:
        return {}
    entry = pwd.getpwnam(user)
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}


def own(path: Path, user: str | None, mode: int) -> None:
    """Give a file or folder to the server's user."""
    path.chmod(mode)
    if user is not None:
        entry = pwd.getpwnam(user)
        os.chown(path, entry.pw_uid, entry.pw_gid)


def may_enter(folder: Path) -> bool:
    """Whether every user may go into the folder: a server that root starts under another name must."""
    return all(each.stat().st_mode & 0o001 for each in (folder, *folder.parents))


def launch(command: Sequence[str], *, user: str | None, folder: Path, log: Path, env: dict[str, str]) -> int:
    """Start a server that outlives us, away from our terminal's Ctrl-C; returns its pid.

    The shell in between leaves it to init, so that it is nobody's zombie later.
    """
    script = '"$@" </dev/null >>"$0" 2>&1 & echo $!'
    started = subprocess.run(
        ["/bin/sh", "-c", script, str(log), *command],
        cwd=folder,
        env=env,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
        check=True,
        **as_user(user),
    )
    return int(started.stdout)


def command_of(pid: int) -> str:
    """The command line of a living process, "" if there is none. A pid alone may be another's by now."""
    if Path("/proc/self").exists():
        try:
            return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            return ""
    shown = subprocess.run(["ps", "-o", "command=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return shown.stdout


def wait_until(true: Callable[[], bool], timeout_s: float) -> bool:
    """Look every 50 ms; False if it did not become true in time."""
    deadline = time.monotonic() + timeout_s
    while not true():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True
