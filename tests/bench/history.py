"""history: wrk asks for the latest 50 messages of a room that has a million, and for 50 in the middle of it.

Sixteen connections ask for the same page, as one reader, then as sixteen: requests that wait together share a query.
Then each request asks for the latest page of another of a hundred rooms. These are live: in each one somebody has a
connection of the server.

Reference: pgbench with the SELECT of one such page, prepared, as many clients, in the same rooms; for information,
aiohttp answering a constant body of the same size.
"""

import urllib.request
from collections.abc import Sequence
from urllib.parse import urlsplit

from tests.bench.environment import (
    Account,
    Environment,
    MeasuredServer,
    Spent,
    chat_server,
    chat_upgrade,
    go_live,
    reference,
)
from tests.bench.figures import Figures
from tests.bench.tools import Wrk, pgbench, prepared, wrk
from tests.bench.wires import InvalidRun, LoadClients

# The query of sql/messages/list_before.sql, for one request instead of many.
SELECT = """
SELECT e.room_id, e.seq, e.kind, e.user_id, e.username, e.email, e.body, e.message_no, e.data, e.request_id,
    e.created_at
FROM rooms AS r
LEFT JOIN LATERAL (
    SELECT l.room_id, l.seq, l.kind, l.user_id, u.username, u.email, l.body, l.message_no, l.data, l.request_id,
        l.created_at
    FROM events AS l
    JOIN users AS u ON u.id = l.user_id
    WHERE l.room_id = r.id AND l.kind = 1 AND l.seq < coalesce(%(before)s::bigint, 9223372036854775807)
    ORDER BY l.seq DESC
    LIMIT 50
) AS e ON true
WHERE r.id = %(room_id)s
    AND (r.kind = 'public'
        OR EXISTS (SELECT 1 FROM members AS m WHERE m.room_id = r.id AND m.user_id = %(reader_id)s))
ORDER BY e.seq;
"""
MESSAGES = 1_000_000
LIVE_ROOMS, LIVE_MESSAGES = 100, 1_000
LIVE = "latest 50 of 100 live rooms"
CLIENTS = 16
RUN_S = 2.0


def run(env: Environment, figures: Figures, *, runs: int, quick: bool) -> None:
    """Measure the first page and a deep one, each with its pgbench, then the constant, `runs` times."""
    count, seconds = (10_000, 1.0) if quick else (MESSAGES, RUN_S)
    (room,), readers = fill(env, count)
    live, members = fill(env, LIVE_MESSAGES, LIVE_ROOMS)
    reader = readers[0]
    with chat_server(env, LOG_LEVEL="WARNING") as server, LoadClients(*server.ports) as load:
        size = len(get(page(server, room), reader))
        present = load.open(chat_upgrade(server, members[n % CLIENTS]) for n in range(LIVE_ROOMS))
        go_live(load, list(zip(present, live, strict=True)), LIVE_MESSAGES)
        with reference("constant", size) as bare:
            for _ in range(runs):
                for label, before in (("latest 50", None), ("50 in the middle", count // 2)):
                    measure(env, server, room, reader, label, before, seconds, figures)
                measure_live(env, server, live, members, seconds, figures)
                tokens = [each.token for each in readers]
                mixed = wrk(page(server, room), connections=CLIENTS, seconds=seconds, tokens=tokens)
                figures.add("for information: requests/s, latest 50, sixteen readers", mixed.per_s)
                constant = wrk(f"http://127.0.0.1:{bare.port}/", connections=CLIENTS, seconds=seconds)
                figures.add("for information: requests/s of a constant body", constant.per_s)
    first, deep = figures.of("requests/s, latest 50"), figures.of("requests/s, 50 in the middle")
    beside = figures.of("requests/s, 50 in the middle beside the latest 50")
    beside.runs += deep.runs
    beside.reference += first.runs


def page(server: MeasuredServer, room: int, before: int | None = None) -> str:
    """The address of the last 50 messages of a room, or of the last 50 before one."""
    query = "" if before is None else f"?before={before}"
    return f"http://127.0.0.1:{server.port}/v1/chat/rooms/{room}/messages{query}"


def measure(
    env: Environment,
    server: MeasuredServer,
    room: int,
    reader: Account,
    label: str,
    before: int | None,
    seconds: float,
    figures: Figures,
) -> None:
    """Measure one page with wrk, then with pgbench."""
    get(page(server, room, before), reader)
    clocks = server.spent()
    done = wrk(page(server, room, before), connections=CLIENTS, seconds=seconds, tokens=[reader.token])
    note(label, done, server.spent() - clocks, seconds, 0.3, figures)
    script = select(str(room), reader, before)
    figures.compare(f"requests/s, {label}", pgbench(env.url, script, clients=CLIENTS, seconds=seconds))


def measure_live(
    env: Environment,
    server: MeasuredServer,
    rooms: Sequence[int],
    readers: Sequence[Account],
    seconds: float,
    figures: Figures,
) -> None:
    """Measure the latest pages of many rooms in turn with wrk, then with pgbench."""
    for room in rooms:
        get(page(server, room), readers[0])
    paths = [urlsplit(page(server, room)).path for room in rooms]
    tokens = [readers[n % CLIENTS].token for n in range(len(rooms))]
    clocks = server.spent()
    done = wrk(page(server, rooms[0]), connections=CLIENTS, seconds=seconds, tokens=tokens, paths=paths)
    note(LIVE, done, server.spent() - clocks, seconds, 1.0, figures)
    script = f"\\set room random({rooms[0]}, {rooms[-1]})\n{select(':room', readers[0], None)}"
    figures.compare(f"requests/s, {LIVE}", pgbench(env.url, script, clients=CLIENTS, seconds=seconds))


def note(label: str, done: Wrk, spent: Spent, seconds: float, times: float, figures: Figures) -> None:
    """Note what wrk measured. The aim is `times` pgbench."""
    figures.add(f"requests/s, {label}", done.per_s, aim=("≥", times))
    figures.add(f"p99 ms, {label}", done.p99_ms)
    figures.add(f"CPU µs a request, {label}", spent.server / (done.per_s * seconds) * 1e6)
    figures.add(f"PostgreSQL CPU µs a request, {label}", spent.postgres / (done.per_s * seconds) * 1e6)


def select(room: str, reader: Account, before: int | None) -> str:
    """The script of pgbench for one page."""
    return prepared(SELECT, room_id=room, reader_id=str(reader.id), before="NULL" if before is None else str(before))


def fill(env: Environment, count: int, rooms: int = 1) -> tuple[list[int], list[Account]]:
    """Create rooms with `count` messages each by ten accounts. Return them and their members."""
    accounts, ids = env.accounts(CLIENTS), env.rooms(rooms)
    env.join([(room, account.id) for room in ids for account in accounts])
    env.sql("UPDATE rooms SET last_seq = %s, last_message_no = %s WHERE id = ANY (%s)", count, count, ids)
    env.sql(
        "INSERT INTO events (room_id, seq, kind, user_id, body, message_no, request_id, created_at) "
        "SELECT room, n, 1, %s + n %% 10, rpad('message ' || n, 100, '.'), n, "
        "'history-' || room || to_char(n, 'FM00000000'), now() - make_interval(secs => %s - n) "
        "FROM unnest(%s) AS room, generate_series(1, %s) AS n",
        accounts[0].id,
        count,
        ids,
        count,
    )
    env.settle()
    return ids, accounts


def get(url: str, reader: Account) -> bytes:
    """Fetch one page, which must have 50 messages."""
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {reader.token}"})
    with urllib.request.urlopen(request, timeout=10) as response:
        body: bytes = response.read()
    if body.count(b'"seq":') != 50:
        raise InvalidRun(f"not 50 messages: {body[:200]!r}")
    return body
