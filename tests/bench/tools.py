"""External programs: pgbench, which comes with PostgreSQL, and wrk."""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from functools import cache
from glob import glob
from itertools import repeat
from pathlib import Path
from typing import NamedTuple

from devtools import packages
from tests.bench.wires import InvalidRun

PGBENCH_PLACES = "/usr/lib/postgresql/*/bin/pgbench"


@cache
def missing(what: str) -> None:
    """Say once on stderr that a program is missing."""
    print(f"{what} is not installed: its numbers are missing", file=sys.stderr)


@cache
def installed(what: str, files: tuple[str, ...], needed: tuple[str, ...], units: tuple[str, ...] = ()) -> bool:
    """Whether a program is there, by patterns of its files. As root it is installed, and never starts as a service."""
    if not all(map(glob, files)) and packages.can_install():
        log = Path(tempfile.gettempdir()) / "bench-install.log"
        for package in needed:
            packages.install(package, units, log)
    if all(map(glob, files)):
        return True
    missing(f"{what} (Debian: {', '.join(needed)})")
    return False


def pgbench(url: str, script: str, *, clients: int, seconds: float) -> float | None:
    """Transactions a second of a script, prepared, by one thread on the load's core; None without pgbench."""
    found = shutil.which("pgbench") or next(map(str, Path("/").glob(PGBENCH_PLACES.lstrip("/"))), None)
    if found is None:
        return missing("pgbench, which comes with PostgreSQL,")
    with tempfile.NamedTemporaryFile("w", suffix=".sql") as file:
        file.write(script)
        file.flush()
        command = [
            found,
            "-n",
            "-M",
            "prepared",
            "-c",
            str(clients),
            "-j",
            "1",
            "-T",
            str(round(seconds)),
            "-f",
            file.name,
        ]
        options = "-c timezone=UTC -c jit=off -c synchronous_commit=on"
        done = subprocess.run(
            [*command, url], capture_output=True, text=True, env={**os.environ, "PGOPTIONS": options}, check=False
        )
    rate = re.search(r"^tps = ([\d.]+)", done.stdout, re.M)
    failed = re.search(r"^number of failed transactions: (\d+)", done.stdout, re.M)
    if done.returncode or rate is None or (failed and int(failed[1])):
        raise InvalidRun(f"pgbench: {(done.stderr or done.stdout)[-1000:]}")
    return float(rate[1])


_TURNS = """
local requests, turn = {}, 0
function init()
    for n, each in ipairs({REQUESTS}) do
        requests[n] = wrk.format(nil, each[1], {["Authorization"] = "Bearer " .. each[2]})
    end
end
function request()
    turn = turn % #requests + 1
    return requests[turn]
end
"""


class Wrk(NamedTuple):
    per_s: float
    p99_ms: float


def wrk(url: str, *, connections: int, seconds: float, tokens: Sequence[str] = (), paths: Sequence[str] = ()) -> Wrk:
    """Requests a second, and the 99th percentile of their time; every answer has to be a 200.

    Tokens take turns. If there are paths, they do so with them, instead of the URL's: one for each token.
    """
    if shutil.which("wrk") is None and os.geteuid() == 0 and packages.can_install():
        subprocess.run(
            ["apt-get", "-qq", "install", "-y", "--no-install-recommends", "wrk"], capture_output=True, check=False
        )
    if shutil.which("wrk") is None:
        raise InvalidRun("wrk, a package of Debian's, is not installed")
    command = ["wrk", "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s", "--latency"]
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as file:
        if len(tokens) == 1:
            command += ["-H", f"Authorization: Bearer {tokens[0]}"]
        elif tokens:  # made beforehand, for the script costs the load's core something
            asked = zip((f'"{path}"' for path in paths) if paths else repeat("nil"), tokens, strict=False)
            file.write(_TURNS.replace("REQUESTS", ", ".join(f'{{{path}, "{token}"}}' for path, token in asked)))
            file.flush()
            command += ["-s", file.name]
        done = subprocess.run([*command, url], capture_output=True, text=True, check=False)
    rate = re.search(r"^Requests/sec: +([\d.]+)", done.stdout, re.M)
    slow = re.search(r"^ +99% +([\d.]+)(us|ms|s)", done.stdout, re.M)
    if done.returncode or rate is None or slow is None or re.search("Non-2xx|Socket errors", done.stdout):
        raise InvalidRun(f"wrk: {(done.stderr or done.stdout)[-1000:]}")
    return Wrk(float(rate[1]), float(slow[1]) * {"us": 1e-3, "ms": 1.0, "s": 1e3}[slow[2]])


def prepared(sql: str, **values: str) -> str:
    """A file of sql/ as a pgbench script: one transaction, one round trip, as the server sends it."""
    for name, value in values.items():
        sql = sql.replace(f"%({name})s", value)
    return f"\\startpipeline\n{sql}\n\\endpipeline\n"
