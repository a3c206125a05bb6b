"""start: `make run`, when all is installed and the services run, until the server answers its first request.

Reference: starting Python and importing the packages that the server imports.
"""

import os
import signal
import subprocess
import sys
from secrets import token_hex

from tests.bench.environment import Environment, answers
from tests.bench.figures import Figures
from tests.bench.wires import now
from tests.support.processes import free_port
from tests.support.settings import ROOT

IMPORTS = "import aiohttp.web, aiopg, aiormq, argon2, jwt, msgspec, email_validator"
END_S = 15.0


def run(env: Environment, figures: Figures, *, runs: int, quick: bool) -> None:
    """Measure server and reference in turn. Nothing is pinned: a start may use all cores."""
    figures.of("s to the first answer", ("≤", 4))
    os.sched_setaffinity(0, range(os.cpu_count() or 1))
    for number in range(runs + 1):
        began = now()
        subprocess.run([sys.executable, "-c", IMPORTS], cwd=ROOT, check=True)
        imported = now() - began
        seconds = start(env)
        if number:  # the first warms the file cache
            figures.compare("s to the first answer", imported)
            figures.add("s to the first answer", seconds)


def start(env: Environment) -> float:
    """Seconds from `make run` to an answer of /health/live."""
    port = free_port()
    settings = {
        "DATABASE_URL": env.url,
        "AMQP_URL": env.amqp_url,
        "AMQP_PREFIX": f"bench-{token_hex(4)}.",
        "JWT_SECRET": env.secret,
        "PORT": str(port),
    }
    began = now()
    process = subprocess.Popen(
        ["make", "run"],
        cwd=ROOT,
        env={**os.environ, **settings},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        answers(process, port, "/health/live")
        return now() - began
    finally:
        os.killpg(process.pid, signal.SIGINT)
        process.wait(END_S)
