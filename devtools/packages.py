"""Server programs on this machine: where they are, and how root gets them."""

import fcntl
import glob
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from devtools.processes import is_root, say

POLICY = Path("/usr/sbin/policy-rc.d")  # Debian asks this script whether a freshly installed service may start
NO_STARTS = "#!/bin/sh\n# for as long as the chat server installs its services\nexit 101\n"
INSTALLING = Path("/run/chat-services.lock")


def folders_with(program: str, patterns: Sequence[str]) -> Iterator[Path]:
    """Folders that hold `program`: those that fit a pattern, newest version first, then PATH's."""
    for pattern in patterns:
        found = [Path(each) for each in glob.glob(pattern)]
        yield from (each for each in sorted(found, key=_version, reverse=True) if (each / program).exists())
    if on_path := shutil.which(program):
        yield Path(on_path).resolve().parent


def _version(path: Path) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", str(path))]


def can_install() -> bool:
    """Whether apt-get may be asked for missing programs."""
    return is_root() and shutil.which("apt-get") is not None


def install(package: str, units: Sequence[str], log: Path) -> bool:
    """Install a Debian package whose systemd `units` must not start, now or at the next boot."""
    say(f"installing {package} with apt-get, which takes a minute (log: {log})")
    apt = ["apt-get", "-q", "-y", "-o", "DPkg::Lock::Timeout=300"]  # another apt may be running
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    with log.open("a") as out, no_service_starts():
        for command in ([*apt, "update"], [*apt, "install", "--no-install-recommends", package]):
            done = subprocess.run(
                command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=environment, check=False
            )
        if done.returncode == 0 and shutil.which("systemctl"):
            subprocess.run(["systemctl", "disable", *units], stdout=out, stderr=out, check=False)
    return done.returncode == 0


@contextmanager
def no_service_starts() -> Iterator[None]:
    """Forbid freshly installed services to start; whatever policy the machine had comes back."""
    saved = POLICY.with_name("policy-rc.d.before-chat")
    with INSTALLING.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if POLICY.exists() and POLICY.read_text() != NO_STARTS:  # ours, if an earlier run was killed here
            POLICY.rename(saved)
        POLICY.write_text(NO_STARTS)
        POLICY.chmod(0o755)
        try:
            yield
        finally:
            POLICY.unlink()
            if saved.exists():
                saved.rename(POLICY)
