"""lists: 20 connections ask for the list of rooms all the time, of 10,000, while 500 messages/s flow in rooms of ten.

Reference: the same chat without them.
"""

from tests.bench.beside import ClosedLoop, chat, open_chat
from tests.bench.environment import Account, Environment, chat_server
from tests.bench.figures import Figures, percentile
from tests.bench.wires import LoadClients

ROOMS, EACH = 50, 10
OTHER_ROOMS = 10_000
CONNECTIONS = 20
RUN_S = 3.0


def list_rooms(port: int, account: Account) -> bytes:
    """A request for the first page of the list."""
    return (
        f"GET /v1/chat/rooms HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAuthorization: Bearer {account.token}\r\n\r\n"
    ).encode()


def run(env: Environment, figures: Figures, *, runs: int, quick: bool) -> None:
    """Measure the chat without and with the lists, `runs` times."""
    seconds = 1.0 if quick else RUN_S
    env.rooms(OTHER_ROOMS)
    rooms, accounts, others = env.rooms(ROOMS), env.accounts(ROOMS * (EACH + 1)), env.accounts(CONNECTIONS)
    env.join([(rooms[n % ROOMS], account.id) for n, account in enumerate(accounts)])
    env.settle()
    p99, p50 = ("chat p99 ms with lists (reference: without)", "chat p50 ms with lists (reference: without)")
    figures.of(p99, ("≤", 2))
    with chat_server(env) as server, LoadClients(server.port) as load:
        shape = open_chat(load, server, rooms, accounts)
        chat(shape, 0.5)
        for _ in range(runs):
            calm, _, _ = chat(shape, seconds)
            busy, rate, _ = chat(shape, seconds, ClosedLoop(load, [list_rooms(server.port, other) for other in others]))
            for name, share in ((p99, 0.99), (p50, 0.5)):
                figures.compare(name, percentile(calm, share) * 1e3)
                figures.add(name, percentile(busy, share) * 1e3)
            figures.add("lists/s", rate)
