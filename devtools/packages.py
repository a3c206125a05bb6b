"""Server programs on this machine: where they are, and how root installs them with apt-get."""

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

POLICY = Path("/usr/sbin/policy-rc.d")  # Debian runs this script to learn whether a new service may start
FORBID_STARTS = "#!/bin/sh\n# while the chat server installs its services\nexit 101\n"
INSTALL_LOCK = Path("/run/chat-services.lock")


def folders_with(program: str, patterns: Sequence[str]) -> Iterator[Path]:
    """Folders that hold `program`: those that match a pattern, newest version first, then the one on PATH."""
    for pattern in patterns:
        matches = [Path(match) for match in glob.glob(pattern)]
        yield from (folder for folder in sorted(matches, key=_version, reverse=True) if (folder / program).exists())
    if on_path := shutil.which(program):
        yield Path(on_path).resolve().parent


def _version(path: Path) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", str(path))]


def can_install() -> bool:
    """Whether apt-get can be used to install missing programs."""
    return is_root() and shutil.which("apt-get") is not None


def install(package: str, units: Sequence[str], log: Path) -> bool:
    """Install a Debian package whose systemd `units` must not start, neither now nor at the next boot."""
    say(f"installing {package} with apt-get, which takes a minute (log: {log})")
    apt = ["apt-get", "-q", "-y", "-o", "DPkg::Lock::Timeout=300"]  # another apt may be running
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    with log.open("a") as out, no_service_starts():
        for command in ([*apt, "update"], [*apt, "install", "--no-install-recommends", package]):
            result = subprocess.run(
                command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=environment, check=False
            )
        if result.returncode == 0 and shutil.which("systemctl"):
            subprocess.run(["systemctl", "disable", *units], stdout=out, stderr=out, check=False)
    return result.returncode == 0


@contextmanager
def no_service_starts() -> Iterator[None]:
    """Keep newly installed services from starting. Afterwards the machine's own policy is back."""
    saved = POLICY.with_name("policy-rc.d.before-chat")
    with INSTALL_LOCK.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if POLICY.exists() and POLICY.read_text() != FORBID_STARTS:  # ours is left over if an earlier run was killed
            POLICY.rename(saved)
        POLICY.write_text(FORBID_STARTS)
        POLICY.chmod(0o755)
        try:
            yield
        finally:
            POLICY.unlink()
            if saved.exists():
                saved.rename(POLICY)
