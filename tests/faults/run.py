"""The fault run: clients write, read, join and leave in a few rooms while faults happen, and then all is counted.

`python -m tests.faults.run --faults 300` goes on where an earlier run was stopped: every round of ten faults, once
it is checked, is a line in the results file, and the table is of all its lines.
"""

import argparse
import asyncio
import bisect
import itertools
import json
import logging
import random
import shutil
import signal
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TypeVar

import aiohttp

from tests.faults.checker import Fault, History, Outcome, check
from tests.faults.cluster import ServerPair, Services, private_services, two_servers
from tests.faults.faults import KINDS, Breaker
from tests.faults.membership_workload import MembershipObserver, MembershipWriter, read_members
from tests.faults.workload import (
    TROUBLE,
    Client,
    Observer,
    OldObserver,
    RestWriter,
    SocketWriter,
    Writer,
    read_page,
    text_of,
)

ROUND = 10  # faults between two counts
ROOMS = 4
RECOVERY_S = 30.0  # after a fault is mended, everybody is served again by then
CHANGES_PER_S = 4.0  # joins and leaves of one membership writer
OVERLAP = 0.15  # how many faults are followed by the next before everybody is served again
RESULTS = Path(".faults/results.jsonl")

T = TypeVar("T")

say = logging.getLogger("faults").info


@dataclass
class Result:
    """The result of one round.

    faults: the kind of each, and the longest pause in seconds that an observer had.
    Lines from before there were membership writers have no joins and leaves.
    """

    seed: int
    faults: list[tuple[str, float]] = field(default_factory=list)
    acked: int = 0
    undecided: int = 0
    failed: int = 0
    resends: int = 0
    events: int = 0
    wrong: list[tuple[str, str]] = field(default_factory=list)
    joins: int = 0  # acked
    leaves: int = 0
    undecided_changes: int = 0  # tries
    visits: int = 0

    def count(self, history: History) -> None:
        self.acked = sum(bool(write.seqs) for write in history.writes)
        self.undecided = sum(not write.seqs and not write.failed for write in history.writes)
        self.failed = sum(write.failed for write in history.writes)
        self.events = sum(len(view.entries) for view in history.views)
        acked = Counter(change.action for change in history.changes if change.outcome is Outcome.ACKED)
        self.joins, self.leaves = acked["joined"], acked["left"]
        self.undecided_changes = sum(change.outcome is Outcome.UNDECIDED for change in history.changes)
        self.visits = len(history.visits)


class Workload:
    """All clients of a round, half of them on each server at first."""

    def __init__(
        self,
        http: aiohttp.ClientSession,
        servers: ServerPair,
        rooms: list[int],
        seed: int,
        per_s: float,
    ) -> None:
        numbers = itertools.count()

        def some(kind: Callable[..., T], count: int, **more: float) -> list[T]:
            return [kind(http, servers, n % 2, seed + n, rooms=rooms, **more) for n in itertools.islice(numbers, count)]

        self.writers: list[Writer] = [*some(SocketWriter, 4, per_s=per_s), *some(RestWriter, 2, per_s=per_s / 2)]
        self.watchers = some(Observer, 4)
        self.old = some(OldObserver, 2)
        self.membership_observers = some(MembershipObserver, 4, per_s=CHANGES_PER_S)
        self.membership_writers: list[MembershipWriter] = [
            *self.membership_observers,
            *some(MembershipWriter, 2, per_s=CHANGES_PER_S),
        ]
        self.served: list[Client] = [*self.writers, *self.watchers, *self.membership_writers]  # after each fault again
        self.everybody: list[Client] = [*self.served, *self.old]
        self._views = [*(each.views for each in self.watchers), *(each.views for each in self.old)]
        self._name = f"c{seed % 10**6}-{time.time_ns() % 10**9}"

    async def sign_up(self) -> None:
        names = (f"{self._name}-{number}" for number in itertools.count())
        for start in range(0, len(self.everybody), 4):  # more at once would wait too long for a thread
            some = self.everybody[start : start + 4]
            await asyncio.gather(*(each.sign_up(name) for each, name in zip(some, names, strict=False)))
        await asyncio.gather(*(each.join() for each in self.old))

    def history(self) -> History:
        """What the clients have recorded so far, without the visits of the membership observers."""
        return History(
            writes=[write for writer in self.writers for write in writer.writes],
            views=[view for views in self._views for view in views.values()],
            changes=[change for writer in self.membership_writers for change in writer.changes],
        )


async def play(
    services: Services,
    servers: ServerPair,
    seed: int,
    faults: int,
    *,
    frames: int = 0,
    held: float = 1.0,
    per_s: float = 65.0,
) -> Result:
    """One round: `faults` of them in an order that `seed` decides, and at least `frames` frames to the observers.

    `held`: how long each is held, of the usual time.
    """
    chance = random.Random(seed)
    result = Result(seed)
    connector = aiohttp.TCPConnector(limit=0, force_close=True)
    async with aiohttp.ClientSession(connector=connector, middlewares=[_send_once]) as http:
        owner, rooms = await _prepare(http, servers, seed)
        workload = Workload(http, servers, rooms, seed, per_s)
        await workload.sign_up()
        tasks = [asyncio.create_task(client.run()) for client in workload.everybody]
        breaker = Breaker(services, servers, rooms, chance, held=held)
        moments: list[tuple[str, float]] = []
        try:
            await _served(workload.everybody, time.monotonic(), result, "the start")
            for kind in chance.sample(list(KINDS), faults):
                await asyncio.sleep(chance.uniform(0.2, 1.0))
                moments.append((kind, time.monotonic()))
                say("%s", kind)
                await KINDS[kind](breaker)
                if chance.random() >= OVERLAP:
                    await _served(workload.served, time.monotonic(), result, kind)
            while sum(len(watcher.beats) for watcher in workload.watchers) < frames:
                await asyncio.sleep(0.1)
            end = time.monotonic()
            await _served(workload.served, end, result, "the last fault")
            await _come_to_rest([*workload.writers, *workload.membership_writers], result)
            history = workload.history()
            for room in rooms:
                history.logs[room] = await _whole_log(http, servers, owner, room, result)
                listed = await read_members(http, servers[0].url, owner.headers, room)
                history.members[room] = listed - {owner.name}  # the owner is a member from the first event on
            await _caught_up(workload, history, result)
        finally:
            for task in tasks:
                task.cancel()
            for client, died in zip(
                workload.everybody, await asyncio.gather(*tasks, return_exceptions=True), strict=True
            ):
                if not isinstance(died, asyncio.CancelledError):
                    client.odd.append(f"{client.name} broke off: {died!r}")
        result.wrong += [(str(kind), text) for kind, text in check(history)]
        result.wrong += [("odd", text) for client in workload.everybody for text in client.odd]
    result.faults = [
        (kind, round(_longest_pause(workload.watchers, since, until), 2))
        for (kind, since), until in zip(moments, [*(moment for _, moment in moments[1:]), end], strict=True)
    ]
    result.resends = sum(writer.resends for writer in workload.writers)
    result.count(history)
    return result


async def _send_once(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    """Keep aiohttp from repeating a PUT or DELETE whose connection broke: the repeat would hide the first attempt."""
    try:
        return await handler(request)
    except aiohttp.ClientConnectorError:
        raise  # nothing was sent, and aiohttp does not repeat it
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        raise aiohttp.ClientConnectionError(f"{request.method} {request.url}: {error}") from error


async def _prepare(http: aiohttp.ClientSession, servers: ServerPair, seed: int) -> tuple[RestWriter, list[int]]:
    """Create the owner, a client that only reads, and the rooms that the owner creates."""
    owner = RestWriter(http, servers, 0, seed, rooms=[], per_s=1)
    await owner.sign_up(f"o{seed % 10**6}-{time.time_ns() % 10**9}")
    rooms = []
    for number in range(ROOMS):
        body = {"name": f"{owner.name} {number}", "topic": ""}
        async with http.post(f"{owner.url}/v1/chat/rooms", json=body, headers=owner.headers) as response:
            response.raise_for_status()
            rooms.append((await response.json())["id"])
    return owner, rooms


async def _served(clients: Sequence[Client], since: float, result: Result, kind: str) -> None:
    """Wait until each client has had an ack or an event since then. A timeout is recorded as wrong."""
    deadline = time.monotonic() + RECOVERY_S
    while waiting := [client.name for client in clients if not client.beats or client.beats[-1] < since]:
        if time.monotonic() > deadline:
            result.wrong.append(("stuck", f"after {kind}: {', '.join(waiting)}"))
            return
        await asyncio.sleep(0.02)


async def _come_to_rest(clients: Sequence[Writer | MembershipWriter], result: Result) -> None:
    """Stop new writes, and wait until the outcome of each old one is known."""
    for client in clients:
        client.quiet = True
    deadline = time.monotonic() + RECOVERY_S
    while waiting := [client.name for client in clients if not client.settled]:
        if time.monotonic() > deadline:
            result.wrong.append(("stuck", f"repeats have no end: {', '.join(waiting)}"))
            return
        await asyncio.sleep(0.05)
    await asyncio.sleep(1.0)  # what is under way


async def _whole_log(
    http: aiohttp.ClientSession, servers: ServerPair, reader: Client, room: int, result: Result
) -> list[tuple[int, str]]:
    """The room's log, which both servers must agree on."""
    read: list[list[tuple[int, str]]] = []
    for server in servers:
        log: list[tuple[int, str]] = []
        deadline = time.monotonic() + RECOVERY_S
        while True:
            try:
                page = await read_page(http, server.url, reader.headers, room, log[-1][0] if log else 0)
            except TROUBLE:
                assert time.monotonic() < deadline, "the log cannot be read"
                await asyncio.sleep(0.2)
                continue
            if not page:
                break
            log += [(frame["seq"], text_of(frame)) for frame in page]
        read.append(log)
    if read[0] != read[1]:
        result.wrong.append((Fault.TWO_VALUES, f"the servers disagree about room {room}"))
    return read[1]


async def _caught_up(workload: Workload, history: History, result: Result) -> None:
    """Wait until all clients have heard everything. Record the visits of the membership observers."""
    membership_observers = workload.membership_observers

    def missing() -> bool:
        return (
            any(watcher.last(room) != log[-1][0] for watcher in workload.watchers for room, log in history.logs.items())
            or not all(member.present() for member in membership_observers)
            or any(
                visit.misses_the_end(history.logs[visit.room])
                for member in membership_observers
                for visit in member.present()
            )
        )

    deadline = time.monotonic() + RECOVERY_S
    while missing() and time.monotonic() < deadline:
        await asyncio.sleep(0.05)
    for member in membership_observers:
        present = member.present()
        if not present:
            result.wrong.append(("stuck", f"{member.name} is not there in the end"))
        for visit in present:
            visit.stays = True
        begun = {id(visit) for visit in member.visits}
        history.visits += [*member.visits, *(visit for visit in present if id(visit) not in begun)]


def _longest_pause(watchers: list[Observer], since: float, until: float) -> float:
    longest = 0.0
    for watcher in watchers:
        first, last = bisect.bisect_right(watcher.beats, since), bisect.bisect_right(watcher.beats, until)
        moments = [since, *watcher.beats[first:last], until]
        longest = max(longest, *(after - before for before, after in itertools.pairwise(moments)))
    return longest


# --- many rounds --------------------------------------------------------------------------------------


def table(results: list[Result]) -> str:
    """The results as Markdown tables."""
    pauses: dict[str, list[float]] = defaultdict(list)
    wrong: Counter[str] = Counter()
    for result in results:
        for kind, pause in result.faults:
            pauses[kind].append(pause)
        wrong.update(kind for kind, _ in result.wrong)
    order = sorted(pauses, key=list(KINDS).index)
    lines = ["| fault | times | longest pause, s | median, s |", "|---|---:|---:|---:|"]
    for kind in order:
        each = sorted(pauses[kind])
        lines.append(f"| {kind} | {len(each)} | {each[-1]:.1f} | {each[len(each) // 2]:.1f} |")
    lines.append(f"| **all** | **{sum(map(len, pauses.values()))}** | | |")
    sums = {
        "writes acked": sum(result.acked for result in results),
        "writes undecided in the end": sum(result.undecided for result in results),
        "writes that certainly failed, and were given up": sum(result.failed for result in results),
        "resends": sum(result.resends for result in results),
        "events seen by observers": sum(result.events for result in results),
        "joins acked": sum(result.joins for result in results),
        "leaves acked": sum(result.leaves for result in results),
        "tries of a join or a leave that stayed undecided": sum(result.undecided_changes for result in results),
        "rooms heard by membership observers, from a join or a resume on": sum(result.visits for result in results),
        "lost": wrong[Fault.LOST] + wrong[Fault.HOLE],
        "doubled, or two values": wrong[Fault.DOUBLED] + wrong[Fault.TWO_VALUES],
        "out of order": wrong[Fault.BACKWARDS],
        "failed, and there all the same": wrong[Fault.RISEN] + wrong[Fault.STRANGE],
        "members that the log does not know, or the reverse": wrong[Fault.MEMBERS],
        "heard without a join, or after the leave": wrong[Fault.UNINVITED] + wrong[Fault.OVERSTAYED],
        "stuck or odd": wrong["stuck"] + wrong["odd"],
    }
    lines += ["", "| counted | |", "|---|---:|", *(f"| {name} | {count:,} |" for name, count in sums.items())]
    return "\n".join(lines)


def read_results(path: Path) -> list[Result]:
    if not path.exists():
        return []
    results = [Result(**json.loads(line)) for line in path.read_text().splitlines()]
    for result in results:
        result.faults = [(kind, pause) for kind, pause in result.faults]
    return results


async def _rounds(services: Services, path: Path, faults: int, seed: int | None) -> None:
    async with two_servers(services, resume_max_events=300, db_pool_size=6) as servers:
        while (done := sum(len(result.faults) for result in read_results(path))) < faults:
            chosen = random.randrange(10**9) if seed is None else seed
            print(f"--- {done} of {faults} faults; seed {chosen}", flush=True)
            result = await play(services, servers, chosen, ROUND)
            with path.open("a") as results:
                results.write(json.dumps(asdict(result)) + "\n")
            for kind, text in result.wrong:
                print(f"WRONG: {kind}: {text}", flush=True)
            if result.wrong:
                kept = path.parent / f"logs-{chosen}"
                kept.mkdir(exist_ok=True)
                for server in servers:
                    shutil.copy(server.log, kept)
            if seed is not None:
                return


def main() -> None:
    parser = argparse.ArgumentParser(description="Breaks a chat server again and again, and counts.")
    parser.add_argument("--faults", type=int, default=300, help="how many in all, those of earlier runs included")
    parser.add_argument("--seed", type=int, help="one round with this seed")
    parser.add_argument("--results", type=Path, default=RESULTS)
    args = parser.parse_args()
    logging.basicConfig(format="%(asctime)s %(message)s", level=logging.WARNING)
    logging.getLogger("faults").setLevel(logging.INFO)
    for number in (signal.SIGINT, signal.SIGTERM):  # in the background of a shell the first is ignored
        signal.signal(number, signal.default_int_handler)
    args.results.parent.mkdir(parents=True, exist_ok=True)
    try:
        with private_services() as services:
            asyncio.run(_rounds(services, args.results, args.faults, args.seed))
    except KeyboardInterrupt:
        print("stopped; the same command goes on from this round")
    results = read_results(args.results)
    print(table(results))
    sys.exit(any(result.wrong for result in results))


if __name__ == "__main__":
    main()
