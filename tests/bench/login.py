"""login: log-ins while 500 messages/s flow in 50 rooms of ten; chat's p99 with and without them.

The chat is an open loop, each delay timed from when the message was due. The log-ins are a closed loop of four
connections.

Reference: argon2-cffi alone with the same parameters, as many threads (one), on the server's core.
"""

import json
import subprocess
import sys

from tests.bench import machine
from tests.bench.beside import ClosedLoop, chat, open_chat
from tests.bench.environment import Environment, chat_server
from tests.bench.figures import Figures, percentile
from tests.bench.wires import LoadClients
from tests.support.client import PASSWORD
from tests.support.settings import ROOT

ROOMS, EACH = 50, 10
RATE = 500.0
RUN_S = 3.0
THREADS = 1  # HASH_THREADS
CONNECTIONS = 4


def log_in(port: int, email: str) -> bytes:
    """A request that logs in."""
    body = json.dumps({"email": email, "password": PASSWORD})
    head = f"POST /v1/auth/login HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode()


def run(env: Environment, figures: Figures, *, runs: int, quick: bool) -> None:
    """Measure the chat without and with log-ins, and the hash alone, `runs` times."""
    seconds = 1.0 if quick else RUN_S
    rooms, accounts = env.rooms(ROOMS), env.accounts(ROOMS * (EACH + 1))
    env.join([(rooms[n % ROOMS], account.id) for n, account in enumerate(accounts)])
    env.settle()
    emails = [row[0] for row in env.sql("SELECT email FROM users WHERE NOT is_bot ORDER BY id LIMIT %s", CONNECTIONS)]
    figures.of("log-ins/s")
    figures.of("chat p99 ms with log-ins (reference: without)", ("≤", 2))
    with chat_server(env) as server, LoadClients(server.port) as load:
        shape = open_chat(load, server, rooms, accounts)
        chat(shape, 0.5)
        for _ in range(runs):
            calm, _, _ = chat(shape, seconds)
            figures.compare("chat p99 ms with log-ins (reference: without)", percentile(calm, 0.99) * 1e3)
            busy, rate, cpu = chat(shape, seconds, ClosedLoop(load, [log_in(server.port, email) for email in emails]))
            figures.add("chat p99 ms with log-ins (reference: without)", percentile(busy, 0.99) * 1e3)
            figures.add("chat p50 ms with log-ins (reference: without)", percentile(busy, 0.5) * 1e3)
            figures.compare("chat p50 ms with log-ins (reference: without)", percentile(calm, 0.5) * 1e3)
            figures.add("log-ins/s", rate)
            figures.compare("log-ins/s", alone(seconds))
            figures.add("CPU ms a log-in, the chat's included", cpu * 1e3)


def alone(seconds: float) -> float:
    """Verifications a second of argon2-cffi on the server's core, with nothing else to do."""
    command = [sys.executable, "-m", "tests.bench.references", "hashes", "0", str(THREADS), str(seconds)]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=True, preexec_fn=machine.pin(machine.SERVER_CORE)
    )
    return float(done.stdout)
