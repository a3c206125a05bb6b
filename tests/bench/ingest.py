"""ingest: 64 senders in 50 rooms, each with 1, 4 or 16 messages in flight, acked after the commit, durable.

All of it is relayed and delivered meanwhile, to one reader in each room. The loops are closed, so a message is due
when it is written. Commits are counted by PostgreSQL's transaction numbers, of the whole cluster.

Reference: pgbench with the same lock and append of a single row, prepared, one round trip and one commit each.
"""

from collections.abc import Sequence

from chat.db.statements import statement
from tests.bench.environment import Environment, MeasuredServer, chat_server, chat_upgrade, go_live
from tests.bench.figures import Figures, percentile
from tests.bench.tools import pgbench, prepared
from tests.bench.wires import Author, InvalidRun, LoadClient, LoadClients, Witness, now

SENDERS, ROOMS = 64, 50
IN_FLIGHT = (1, 4, 16)
CLIENTS = (1, 16, 64)
RUN_S = 1.5
PGBENCH_S = 3.0  # its first executions of a statement are planned, in each client
WAIT_S = 10.0


def run(env: Environment, figures: Figures, *, runs: int, quick: bool) -> None:
    """Run all levels, and pgbench between them, `runs` times."""
    seconds = 0.5 if quick else RUN_S
    rooms, accounts = env.rooms(ROOMS), env.accounts(SENDERS + ROOMS)
    env.join([(rooms[n % ROOMS], account.id) for n, account in enumerate(accounts[:SENDERS])])
    env.join(list(zip(rooms, (account.id for account in accounts[SENDERS:]), strict=True)))
    for level, clients in zip(IN_FLIGHT, CLIENTS, strict=True):
        figures.of(
            f"acked/s, {level} in flight each; pgbench {clients}", ("≥", 1.0) if clients == CLIENTS[-1] else None
        )
    # pgbench writes to rooms of its own: the server would have to find out what it wrote, and deliver it.
    theirs, writers = env.rooms(ROOMS), env.accounts(SENDERS)
    env.join([(theirs[n % ROOMS], account.id) for n, account in enumerate(writers)])
    script = append_script(theirs[0], writers[0].id)
    env.settle()
    with chat_server(env) as server, LoadClients(server.port) as load:
        sockets = load.open(chat_upgrade(server, account) for account in accounts)
        authors = [Author(client, rooms[n % ROOMS], f"{n}") for n, client in enumerate(sockets[:SENDERS])]
        readers = sockets[SENDERS:]
        go_live(load, list(zip(readers, rooms, strict=True)))
        measure(env, server, load, authors, readers, 1, 0.3, "", Figures())
        for _ in range(runs):
            for level, clients in zip(IN_FLIGHT, CLIENTS, strict=True):
                name = f"acked/s, {level} in flight each; pgbench {clients}"
                measure(env, server, load, authors, readers, level, seconds, name, figures)
                figures.compare(name, pgbench(env.url, script, clients=clients, seconds=PGBENCH_S))


def measure(
    env: Environment,
    server: MeasuredServer,
    load: LoadClients,
    authors: Sequence[Author],
    readers: Sequence[LoadClient],
    level: int,
    seconds: float,
    name: str,
    figures: Figures,
) -> None:
    """Run one level once."""
    for author in authors:
        author.reset(author.run + 1)
    witnesses = [Witness(reader) for reader in readers]
    commits, before, began = env.commits(), server.spent(), now()
    end = began + seconds
    while True:
        going = now() < end
        for author in authors:
            if going and (free := level - (author.said - author.acked)) > 0:
                author.say([now()] * free)
        if not going and all(author.acked == author.said for author in authors):
            break
        load.pull(0.05)
        if now() > end + WAIT_S:
            raise InvalidRun("not all was acked")
    elapsed = now() - began
    said = sum(author.said for author in authors)
    while sum(witness.count for witness in witnesses) < said:
        load.pull(0.05)
        if now() > end + WAIT_S:
            raise InvalidRun("not all was delivered")
    spent = server.spent() - before
    commits = env.commits() - commits
    for author in authors:
        author.check()
    for witness in witnesses:
        seqs = [each["seq"] for each in witness.frames()]
        if seqs != list(range(seqs[0], seqs[0] + len(seqs))):
            raise InvalidRun("a room's numbers have a hole")
    waited = sorted(delay for author in authors for delay in author.ack_delays())
    figures.add(name, said / elapsed)
    for share, label in ((0.5, "p50"), (0.99, "p99"), (0.999, "p99.9")):
        figures.add(f"ack {label} ms, {level} in flight each", percentile(waited, share) * 1e3)
    figures.add(f"CPU µs a message, {level} in flight each", spent.server / said * 1e6)
    figures.add(f"PostgreSQL CPU µs a message, {level} in flight each", spent.postgres / said * 1e6)
    figures.add(f"RabbitMQ CPU µs a message, {level} in flight each", spent.rabbitmq / said * 1e6)
    figures.add(f"commits a message, {level} in flight each", commits / said)


def append_script(room: int, user: int) -> str:
    """sql/events/append.sql for one row, of a random sender in its room."""
    text = "message".ljust(100, ".")
    append = prepared(
        statement("events/append"),
        room_ids="ARRAY[:room]",
        user_ids="ARRAY[:user]",
        request_ids="ARRAY[gen_random_uuid()::text]",
        bodies=f"ARRAY['{text}']",
        locked_ids="ARRAY[:room]",
        waits="true",
    )
    return f"\\set n random(0, {SENDERS - 1})\n\\set room {room} + :n % {ROOMS}\n\\set user {user} + :n\n{append}"
