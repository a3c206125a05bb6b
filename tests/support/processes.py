"""Processes and ports of this machine."""

import random
from pathlib import Path

from devtools import processes


def free_port() -> int:
    """Return a port outside the range of outgoing connections, so that it stays free while its server is down."""
    return processes.free_port(random.randrange(10_000, 15_000))


def children(pid: int) -> list[int]:
    """Return the processes that this one has started, from any of its threads."""
    listed = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for path in listed for child in path.read_text().split()]


def descendants(pid: int) -> list[int]:
    """Return the children of a process, their children, and so on."""
    return [each for child in children(pid) for each in (child, *descendants(child))]
