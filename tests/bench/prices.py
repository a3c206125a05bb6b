"""What the guarantees of an append cost in PostgreSQL: `python -m tests.bench --prices`. Not part of the table.

A batch of 256 rows, planned once, by one connection that does not wait for the disk: CPU time of PostgreSQL. Each line
leaves out one thing more, all in one scratch database. The last one only numbers and inserts, and checks nothing.
"""

import psycopg2

from chat.db.statements import statement
from tests.bench import machine
from tests.bench.environment import Environment
from tests.bench.figures import Figures

ROWS = 256
BATCHES = 60
OPTIONS = "-c synchronous_commit=off -c jit=off -c plan_cache_mode=force_generic_plan -c enable_seqscan=off"
PARAMS = ("room_ids", "user_ids", "request_ids", "bodies", "locked_ids", "waits")

WITHOUT = {
    "as it is": "",
    "without the key to users": "ALTER TABLE events DROP CONSTRAINT events_user_id_fkey",
    "nor the key to rooms": "ALTER TABLE events DROP CONSTRAINT events_room_id_fkey",
    "nor checks": "ALTER TABLE events DROP CONSTRAINT events_seq_counts, "
    "DROP CONSTRAINT events_messages_have_bodies, DROP CONSTRAINT events_messages_have_numbers; "
    "ALTER TABLE rooms DROP CONSTRAINT rooms_messages_are_events; "
    "ALTER TABLE members DROP CONSTRAINT members_read_message_no_counts",
    "nor the index of messages": "DROP INDEX events_messages",
    "nor statuses: numbers and inserts": "",
}

BARE = """
SELECT id FROM rooms WHERE id = ANY (%(room_ids)s::bigint[]) ORDER BY id FOR NO KEY UPDATE;
WITH input AS (
    SELECT room_id, user_id, request_id, body, n
    FROM unnest(%(room_ids)s::bigint[], %(user_ids)s::bigint[], %(request_ids)s::text[], %(bodies)s::text[])
        WITH ORDINALITY AS input (room_id, user_id, request_id, body, n)
), numbered AS (
    SELECT i.room_id, i.user_id, i.request_id, i.body,
        r.last_seq + row_number() OVER (PARTITION BY i.room_id ORDER BY i.n) AS seq
    FROM input AS i
    JOIN rooms AS r ON r.id = i.room_id
), raised AS (
    UPDATE rooms
    SET last_seq = ends.seq, last_message_no = ends.seq
    FROM (SELECT room_id, max(seq) AS seq FROM numbered GROUP BY room_id) AS ends
    WHERE rooms.id = ends.room_id
)
INSERT INTO events (room_id, seq, kind, user_id, body, message_no, request_id, created_at)
SELECT room_id, seq, 1, user_id, body, seq, request_id, clock_timestamp()
FROM numbered
RETURNING room_id, seq, kind, user_id, body, message_no, request_id, created_at
"""


def run(env: Environment, figures: Figures, *, runs: int, quick: bool) -> None:
    """Leave out one thing after the other."""
    rooms, accounts = env.rooms(50), env.accounts(100)
    env.join([(room, account.id) for room in rooms for account in accounts])
    for label, change in WITHOUT.items():
        if change:
            env.sql(change)
        env.settle()
        sql = BARE if "statuses" in label else statement("events/append")
        for turn in range(runs):
            figures.add(
                f"µs a row, {label}", price(env, sql, rooms, [account.id for account in accounts], f"{label}{turn}")
            )


def price(env: Environment, sql: str, rooms: list[int], users: list[int], name: str) -> float:
    """PostgreSQL's CPU µs for a row."""
    connection = psycopg2.connect(env.url, options=OPTIONS)
    connection.autocommit = True
    with connection.cursor() as cursor:
        calls = []
        for number, text in enumerate(each for each in sql.split(";") if each.strip()):
            used = [param for param in PARAMS if f"%({param})s" in text]
            for place, param in enumerate(used, 1):
                text = text.replace(f"%({param})s", f"${place}")
            cursor.execute(f"PREPARE s{number} AS {text}")
            calls.append(f"EXECUTE s{number} ({', '.join(f'%({param})s' for param in used)})")
        pid = connection.info.backend_pid
        before = machine.cpu_s([pid])[pid]
        for batch in range(BATCHES):
            cursor.execute(
                ";".join(calls),
                {
                    "room_ids": [rooms[n % len(rooms)] for n in range(ROWS)],
                    "user_ids": [users[n % len(users)] for n in range(ROWS)],
                    "request_ids": [f"{name} {batch} {n}" for n in range(ROWS)],
                    "bodies": ["message".ljust(100, ".")] * ROWS,
                    "locked_ids": rooms,
                    "waits": False,
                },
            )
        spent = machine.cpu_s([pid])[pid] - before
    connection.close()
    return spent / BATCHES / ROWS * 1e6
