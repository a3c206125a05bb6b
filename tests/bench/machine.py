"""CPU time and memory of processes, and facts about the machine, from /proc (Linux only)."""

import ctypes
import os
import platform
import re
import resource
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path

PROC = Path("/proc")
PAGE = os.sysconf("SC_PAGE_SIZE")
LIBC = ctypes.CDLL(None)
PR_SET_PDEATHSIG = 1
PROCESS_CPU_CLOCK = 2  # CPUCLOCK_SCHED: the kernel makes a clock's number of this and of the process
PACKAGES = ("aiohttp", "aiopg", "psycopg2-binary", "aiormq", "msgspec")

CORES = sorted(os.sched_getaffinity(0))
SERVER_CORE, LOAD_CORE = CORES[0], CORES[-1]  # the same one where there is only one


def pin(*cores: int) -> Callable[[], None]:
    """A `preexec_fn` that pins a child process to these cores, and has it killed when the benchmark is killed."""

    def prepare() -> None:
        LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        os.sched_setaffinity(0, cores)

    return prepare


def open_many_files() -> None:
    """Raise the limit of open files as far as the system allows. Children inherit it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def tree(pid: int) -> list[int]:
    """A process and all its descendants."""
    parents = dict(_parents())
    found = [pid]
    for each in found:
        found += [child for child, parent in parents.items() if parent == each]
    return found


def _parents() -> Iterator[tuple[int, int]]:
    for path in PROC.glob("[0-9]*/stat"):
        with suppress(OSError):
            yield int(path.parent.name), int(path.read_text().rpartition(")")[2].split()[1])


def cpu_s(pids: Iterable[int]) -> dict[int, float]:
    """CPU time of each process so far, user and system, all threads, also those that have ended.

    It is the kernel's clock of the process, in nanoseconds: /proc counts in hundredths of a second.
    """
    found = {}
    for pid in pids:
        with suppress(OSError):  # it has ended
            found[pid] = time.clock_gettime((~pid << 3) | PROCESS_CPU_CLOCK)
    return found


def memory_kib(pid: int) -> float:
    """Memory that only this process uses, in KiB, without shared libraries."""
    found = re.findall(r"^Private_\w+: +(\d+) kB", (PROC / str(pid) / "smaps_rollup").read_text(), re.M)
    return float(sum(map(int, found)))


def kernel_kib() -> float:
    """The kernel's own memory: slab (sockets, descriptors) and the buffers of TCP. Of the whole machine."""
    slab = re.search(r"^Slab: +(\d+) kB", (PROC / "meminfo").read_text(), re.M)
    buffers = re.search(r"^TCP: .* mem (\d+)", (PROC / "net" / "sockstat").read_text(), re.M)
    return float(int(slab[1]) if slab else 0) + (int(buffers[1]) * PAGE / 1024 if buffers else 0)


def postgres_pids(database: str) -> list[int]:
    """PostgreSQL's processes that work for a database: its backends, and the shared writers."""
    shared = ("walwriter", "checkpointer", "background writer")
    return [
        pid
        for pid, line in _commands()
        if line.startswith("postgres:") and (f" {database} " in line or line.split(": ")[1].startswith(shared))
    ]


def rabbitmq_pids() -> list[int]:
    """RabbitMQ's processes."""
    return [pid for pid, line in _commands() if "beam" in line and "rabbit" in line]


def _commands() -> Iterator[tuple[int, str]]:
    for path in PROC.glob("[0-9]*/cmdline"):
        with suppress(OSError):
            yield int(path.parent.name), path.read_bytes().replace(b"\0", b" ").decode(errors="replace")


def facts(postgres: str) -> dict[str, str]:
    """The machine and the versions, for the head of the table."""
    cpu = re.search(r"^model name\s*: (.+)$", (PROC / "cpuinfo").read_text(), re.M)
    memory = re.search(r"^MemTotal: +(\d+) kB", (PROC / "meminfo").read_text(), re.M)
    return {
        "machine": f"{len(CORES)} cores, {cpu[1] if cpu else platform.machine()}, "
        f"{int(memory[1]) / 2**20 if memory else 0:.0f} GiB, Linux {platform.release()}",
        "versions": ", ".join(
            [f"Python {platform.python_version()}", f"PostgreSQL {postgres}"]
            + [f"{package} {version(package)}" for package in PACKAGES]
        ),
        "pinned": f"server to core {SERVER_CORE}, load to core {LOAD_CORE}; PostgreSQL and RabbitMQ to none",
    }
