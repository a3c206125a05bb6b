"""login: log-ins while 500 messages/s flow in 50 rooms of ten; chat's p99 with and without them.

The chat is an open loop, each delay timed from when the message was due. The log-ins are a closed loop of four
connections.

Reference: argon2-cffi alone with the same parameters, as many threads (one), on the server's core.
"""

import json
import subprocess
import sys
from collections.abc import Sequence

from tests.bench import machine
from tests.bench.environment import Environment, chat_server, chat_upgrade, go_live
from tests.bench.figures import Figures, percentile
from tests.bench.rooms import Shape, offer
from tests.bench.wires import Author, InvalidRun, LoadClient, LoadClients, Marks, Witness, check_room, delays, now
from tests.support.client import PASSWORD
from tests.support.settings import ROOT

ROOMS, EACH = 50, 10
RATE = 500.0
RUN_S = 3.0
THREADS = 1  # HASH_THREADS
CONNECTIONS = 4
WAIT_S = 10.0


class LogIns:
    """Connections that log in repeatedly. They are closed at the end: the server waits only 15 s for a request."""

    def __init__(self, load: LoadClients, port: int, emails: Sequence[str]) -> None:
        self.done = 0
        self._more = True
        self._load = load
        self._requests = [self._request(port, email) for email in emails]
        self._clients = [load.plain() for _ in emails]

    def _request(self, port: int, email: str) -> bytes:
        body = json.dumps({"email": email, "password": PASSWORD})
        head = f"POST /v1/auth/login HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n"
        return f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode()

    def begin(self) -> None:
        for client, request in zip(self._clients, self._requests, strict=True):
            self._log_in(client, request)

    def end(self) -> None:
        """Let the requests in flight end, and close the connections."""
        self._more = False
        self._load.quiet(0.5)
        for client in self._clients:
            self._load.close(client)

    def _log_in(self, client: LoadClient, request: bytes) -> None:
        heard = bytearray()

        def take(_: float, chunk: memoryview) -> None:
            heard.extend(chunk)
            if not heard.endswith(b"}}"):
                return
            if not heard.startswith(b"HTTP/1.1 200"):
                raise InvalidRun(f"no log-in: {bytes(heard[:300])!r}")
            self.done += 1
            if self._more:
                self._log_in(client, request)

        client.take = take
        client.write(request)


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
        clients = load.open(chat_upgrade(server, account) for account in accounts)
        readers = [[clients[n] for n in range(room, len(clients), ROOMS)] for room in range(ROOMS)]
        go_live(load, [(client, room) for room, each in zip(rooms, readers, strict=True) for client in each[1:]])
        authors = [Author(each[0], room, f"{room}") for room, each in zip(rooms, readers, strict=True)]
        shape = Shape(load, authors, [each[1:] for each in readers], server, acks=True)
        chat(shape, 0.5)
        for _ in range(runs):
            calm, _, _ = chat(shape, seconds)
            figures.compare("chat p99 ms with log-ins (reference: without)", percentile(calm, 0.99) * 1e3)
            busy, rate, cpu = chat(shape, seconds, LogIns(load, server.port, emails))
            figures.add("chat p99 ms with log-ins (reference: without)", percentile(busy, 0.99) * 1e3)
            figures.add("chat p50 ms with log-ins (reference: without)", percentile(busy, 0.5) * 1e3)
            figures.compare("chat p50 ms with log-ins (reference: without)", percentile(calm, 0.5) * 1e3)
            figures.add("log-ins/s", rate)
            figures.compare("log-ins/s", alone(seconds))
            figures.add("CPU ms a log-in, the chat's included", cpu * 1e3)


def chat(shape: Shape, seconds: float, log_ins: LogIns | None = None) -> tuple[list[float], float, float]:
    """Every delivery's delay, sorted; log-ins a second; CPU seconds a log-in."""
    for author in shape.authors:
        author.reset(author.run + 1)
    witnesses = [Witness(each[0]) for each in shape.readers]
    sample = [[Marks(client) for client in each[1:]] for each in shape.readers]
    before, began = shape.server.spent(), now()
    if log_ins:
        log_ins.begin()
    offer(shape.load, shape.authors, began, RATE, round(RATE * seconds))
    done, elapsed = (log_ins.done if log_ins else 0), now() - began
    spent = shape.server.spent() - before
    deadline = now() + WAIT_S
    while any(
        witness.count < author.said
        or author.acked < author.said
        or any(client.got < len(witness.data) for client in each)
        for witness, author, each in zip(witnesses, shape.authors, shape.readers, strict=True)
    ):
        shape.load.pull(0.05)
        if now() > deadline:
            raise InvalidRun("not all was delivered")
    if log_ins:
        log_ins.end()
    waited: list[float] = []
    for author, witness, marks, each in zip(shape.authors, witnesses, sample, shape.readers, strict=True):
        author.check()
        check_room(witness, each, author.said)
        for noted in (witness.marks, *(one.marks for one in marks)):
            waited += delays(noted, witness.ends(), author.due)
    return sorted(waited), done / elapsed, spent.server / max(1, done)


def alone(seconds: float) -> float:
    """Verifications a second of argon2-cffi on the server's core, with nothing else to do."""
    command = [sys.executable, "-m", "tests.bench.references", "hashes", "0", str(THREADS), str(seconds)]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=True, preexec_fn=machine.pin(machine.SERVER_CORE)
    )
    return float(done.stdout)
