"""Ports, users and processes for the private servers, as the operating system provides them."""

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

POLL_INTERVAL_S = 0.05
PORT_TRIES = 10  # of a start: each time, another program took the port between the look at it and the bind


class ServiceError(OperatorError):
    """A service cannot be started or stopped. The message says what to do."""


class ProbeResult(Enum):
    """How a server reacts to a URL's credentials. The value completes "PostgreSQL … <URL>"."""

    ACCEPTED = "accepts"
    REFUSED = "listens, but refuses"
    SILENT = "does not answer at"


def say(text: str) -> None:
    """Print one line about a step. It is flushed, so that it appears at once through a pipe too."""
    print(f"services: {text}", flush=True)


def listens(host: str, port: int) -> bool:
    """Whether a server accepts connections at this address."""
    try:
        with socket.create_connection((host, port), timeout=2):
            return True
    except OSError:
        return False


def free_port(first: int) -> int:
    """The first unused port on 127.0.0.1, counted upwards from `first`.

    The kernel is not asked for one: it chooses from the range of outgoing connections, and one of those could occupy
    the port when the server is started again.
    """
    return next(port for port in range(first, first + 500) if is_free(port))


def is_free(port: int) -> bool:
    """Whether no program listens on this port of 127.0.0.1. It may be another program's a moment later."""
    if listens("127.0.0.1", port):
        return False  # some systems allow a bind beside a server on 0.0.0.0, so that binding alone proves nothing
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
    """The name of the user that a private server runs as; None means the current user.

    PostgreSQL refuses to run as root, so root uses `preferred` or, where that user does not exist, creates another.
    Raises `ServiceError`.
    """
    if not is_root():
        return None
    for name in (preferred, "chat-services"):
        try:
            return pwd.getpwnam(name).pw_name
        except KeyError:
            continue
    useradd = subprocess.run(
        ["useradd", "--system", "--user-group", "--no-create-home", "--shell", "/bin/sh", "chat-services"],
        capture_output=True,
        text=True,
    )
    if useradd.returncode:
        raise ServiceError(
            f"The user chat-services cannot be created ({useradd.stderr.strip()}). Create it and try again."
        )
    return "chat-services"


def as_user(user: str | None) -> dict[str, Any]:
    """The arguments with which `subprocess` runs a program as `user`."""
    if user is None:
        return {}
    entry = pwd.getpwnam(user)
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}


def chown(path: Path, user: str | None, mode: int) -> None:
    """Give a file or folder to the server's user, with this mode."""
    path.chmod(mode)
    if user is not None:
        entry = pwd.getpwnam(user)
        os.chown(path, entry.pw_uid, entry.pw_gid)


def is_world_traversable(folder: Path) -> bool:
    """Whether every user may enter the folder, as a server that root starts under another name has to."""
    return all(each.stat().st_mode & 0o001 for each in (folder, *folder.parents))


def launch(command: Sequence[str], *, user: str | None, folder: Path, log: Path, env: dict[str, str]) -> int:
    """Start a server that outlives this process and does not get its terminal's Ctrl-C. Returns its pid.

    The shell in between exits at once, so that init adopts the server and it never becomes a zombie.
    """
    script = '"$@" </dev/null >>"$0" 2>&1 & echo $!'
    shell = subprocess.run(
        ["/bin/sh", "-c", script, str(log), *command],
        cwd=folder,
        env=env,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
        check=True,
        **as_user(user),
    )
    return int(shell.stdout)


def command_of(pid: int) -> str:
    """The command line of a living process, or "" if there is none.

    A remembered pid alone identifies nothing: another process may have it by now.
    """
    if Path("/proc/self").exists():
        try:
            return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            return ""
    ps = subprocess.run(["ps", "-o", "command=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return ps.stdout


def wait_until(predicate: Callable[[], bool], timeout_s: float) -> bool:
    """Poll until the predicate holds. Returns False if it does not within `timeout_s` seconds."""
    deadline = time.monotonic() + timeout_s
    while not predicate():
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_INTERVAL_S)
    return True
