"""A history checker in the manner of Jepsen, with a room as the partition.

A history has three sides: the answers to the writers, what the observers saw, and the log at the end.
`unknown`, a broken connection and no answer leave a write undecided: it may be in the log, or not. `unavailable`
says that it is not, and a write that got nothing else must not be there.

Joins and leaves have no requestId, so an undecided one may take effect at any later moment, or more than once; an
acked one counts once, and is there when it is acked. A text of the log that begins with * is the server's own,
of no write: `*joined ann`, `*left ann`.
"""

import itertools
from collections import defaultdict
from dataclasses import dataclass, field
from enum import StrEnum

Entry = tuple[int, str]  # a number, and what stands there


class Fault(StrEnum):
    """The ways in which a history can be wrong."""

    LOST = "lost"  # acked, and not in the log
    DOUBLED = "doubled"  # one write, two entries; joined or left twice in a row
    TWO_VALUES = "two values"  # for one number, or two numbers for one write
    BACKWARDS = "backwards"  # an observer saw a number that was not above the last
    HOLE = "hole"  # an observer skipped a number, or the log itself is not dense
    RISEN = "risen"  # certainly failed, and in the log all the same
    STRANGE = "strange"  # in the log, although no client wrote it or asked for it
    MEMBERS = "members"  # the list of members is not what the log says
    UNINVITED = "uninvited"  # a room was heard that was neither joined nor resumed
    OVERSTAYED = "overstayed"  # a room was still heard after the leave was announced


@dataclass
class Write:
    """One write with all its tries.

    seqs: the numbers that its acks named.
    undecided: how many tries had an unknown outcome.
    refused: how many tries were certainly without effect.
    """

    room: int
    text: str
    seqs: list[int] = field(default_factory=list)
    undecided: int = 0
    refused: int = 0

    @property
    def failed(self) -> bool:
        """Whether it is certainly not stored."""
        return self.refused > 0 and not self.undecided and not self.seqs


@dataclass
class View:
    """What one observer saw of one room, in order.

    dense: whether it should have seen every number after the first.
    """

    user: str
    room: int
    dense: bool = True
    entries: list[Entry] = field(default_factory=list)


class Outcome(StrEnum):
    """What is known about one try to join or to leave."""

    ACKED = "acked"
    REFUSED = "refused"  # certainly without effect
    UNDECIDED = "undecided"


@dataclass
class Change:
    """One try to change a membership. `action`: `joined` or `left`, as the log would have it."""

    room: int
    user: str
    action: str
    outcome: Outcome


@dataclass
class Visit:
    """What one websocket of `user` heard of a room without interruption, in order.

    after: the number at which a resume began. None: the room came with the join, which is then the first entry.
    live: how many entries at the beginning were replayed.
    stays: whether it went on to the end of the run.
    """

    user: str
    room: int
    after: int | None = None
    entries: list[Entry] = field(default_factory=list)
    live: int = 0
    stays: bool = False

    @property
    def has_left(self) -> bool:
        """Whether the leave was heard live. Nothing may come after it."""
        return any(text == f"*left {self.user}" for _, text in self.entries[self.live :])

    def misses_the_end(self, log: list[Entry]) -> bool:
        """Whether it should have heard more by the end, or, if it never began, whether it should have begun."""
        if not self.entries and self.after is None:
            return last_change(log, self.user) == "joined"
        return not self.has_left and (self.entries[-1][0] if self.entries else self.after) != log[-1][0]


@dataclass
class History:
    """All that was recorded in a run.

    logs: the log of each room at the end.
    members: the names that each room lists at the end, where they were read.
    """

    writes: list[Write] = field(default_factory=list)
    views: list[View] = field(default_factory=list)
    logs: dict[int, list[Entry]] = field(default_factory=dict)
    changes: list[Change] = field(default_factory=list)  # those of one user are in the order of the tries
    visits: list[Visit] = field(default_factory=list)
    members: dict[int, set[str]] = field(default_factory=dict)


def member_event(text: str) -> tuple[str, str] | None:
    """The user and the action of a membership line; None for any other text."""
    action, _, user = text.removeprefix("*").partition(" ")
    return (user, action) if text.startswith("*") and action in ("joined", "left") else None


def last_change(log: list[Entry], user: str) -> str:
    """The last membership action of a user in a room, or an empty string."""
    found = (member_event(text) for _, text in reversed(log))
    return next((event[1] for event in found if event and event[0] == user), "")


def check(history: History) -> list[tuple[Fault, str]]:
    """All faults of a history, each with a description."""
    wrong: list[tuple[Fault, str]] = []
    written: dict[int, dict[str, Write]] = defaultdict(dict)
    for write in history.writes:
        written[write.room][write.text] = write
    membership_writers = {change.user for change in history.changes}
    for room, log in history.logs.items():
        wrong += _check_log(room, log, written[room])
        changes = [change for change in history.changes if change.room == room]
        wrong += _check_members(room, log, changes, membership_writers, history.members.get(room))
    for view in history.views:
        wrong += _check_view(view, dict(history.logs[view.room]))
    for visit in history.visits:
        wrong += _check_visit(visit, history.logs[visit.room])
    return wrong


def _check_log(room: int, log: list[Entry], written: dict[str, Write]) -> list[tuple[Fault, str]]:
    wrong: list[tuple[Fault, str]] = []
    places: dict[str, list[int]] = defaultdict(list)
    for due, (seq, _) in enumerate(log, 1):
        if seq != due:
            wrong.append((Fault.HOLE, f"room {room}: {seq} where {due} was due"))
            break
    for seq, text in log:
        if text.startswith("*"):
            continue
        places[text].append(seq)
        if text not in written:
            wrong.append((Fault.STRANGE, f"room {room}: {text!r} at {seq}"))
    for text, seqs in places.items():
        if len(seqs) > 1:
            wrong.append((Fault.DOUBLED, f"room {room}: {text!r} at {seqs}"))
    for text, write in written.items():
        if len(set(write.seqs)) > 1:
            wrong.append((Fault.TWO_VALUES, f"room {room}: {text!r} was acked as {write.seqs}"))
        for seq in set(write.seqs):
            if seq not in places[text]:
                wrong.append((Fault.LOST, f"room {room}: {text!r} was acked as {seq} and is at {places[text]}"))
        if write.failed and places[text]:
            wrong.append((Fault.RISEN, f"room {room}: {text!r} had certainly failed and is at {places[text]}"))
    return wrong


def _check_members(
    room: int, log: list[Entry], changes: list[Change], membership_writers: set[str], listed: set[str] | None
) -> list[tuple[Fault, str]]:
    wrong: list[tuple[Fault, str]] = []
    done: dict[str, list[str]] = defaultdict(list)
    for seq, text in log:
        if event := member_event(text):
            user, action = event
            if action == (done[user][-1] if done[user] else "left"):
                wrong.append((Fault.DOUBLED, f"room {room}: {user} {action} at {seq}, and had done so"))
            done[user].append(action)
    if not wrong:
        for user in membership_writers:
            own = [change for change in changes if change.user == user]
            wrong += [(fault, f"room {room}: {text}") for fault, text in _check_changes(user, own, done[user])]
    inside = {user for user, actions in done.items() if actions and actions[-1] == "joined"}
    if listed is not None and listed != inside:
        wrong.append((Fault.MEMBERS, f"room {room}: listed and not in the log, or the reverse: {listed ^ inside}"))
    return wrong


def _check_changes(user: str, changes: list[Change], done: list[str]) -> list[tuple[Fault, str]]:
    """Whether the answers that a user got explain the user's entries in the log, which alternate: joined, left.

    places: how many entries of the log may be done by now. An undecided change may do an entry from then on.
    """
    places, undecided = {0}, set[str]()
    for change in changes:
        if change.outcome is Outcome.UNDECIDED:
            undecided.add(change.action)
        places = _later(places, done, undecided)
        if change.outcome is Outcome.ACKED:
            into = change.action == "joined"
            places = {place if place % 2 == into else place + 1 for place in places}
            places = {place for place in places if place <= len(done)}
            if not places:
                return [(Fault.LOST, f"{user} {change.action}, as the ack said, and the log has only {done}")]
    if len(done) in _later(places, done, undecided):
        return []
    refused = any(change.outcome is Outcome.REFUSED for change in changes)
    return [(Fault.RISEN if refused else Fault.STRANGE, f"{user} has not asked for all of {done}")]


def _later(places: set[int], done: list[str], undecided: set[str]) -> set[int]:
    """Add the places that the undecided changes may have reached."""
    reached = set(places)
    for place, action in enumerate(done):
        if place in reached and action in undecided:
            reached.add(place + 1)
    return reached


def _check_visit(visit: Visit, log: list[Entry]) -> list[tuple[Fault, str]]:
    where = f"a websocket of {visit.user}, room {visit.room}"
    wrong = _check_entries(where, visit.entries, dict(log), visit.after, dense=True)
    if visit.after is None and visit.entries and visit.entries[0][1] != f"*joined {visit.user}":
        wrong.append((Fault.UNINVITED, f"{where}: {visit.entries[0]}"))
    for (seq, text), (after, _) in itertools.pairwise(visit.entries[visit.live :]):
        if text == f"*left {visit.user}":
            wrong.append((Fault.OVERSTAYED, f"{where}: {after} after the leave, which was {seq}"))
    if visit.stays and visit.misses_the_end(log):
        wrong.append((Fault.HOLE, f"{where}: nothing after {visit.entries[-1:]}, and the log ends at {log[-1][0]}"))
    return wrong


def _check_view(view: View, log: dict[int, str]) -> list[tuple[Fault, str]]:
    where = f"{view.user}, room {view.room}"
    wrong = _check_entries(where, view.entries, log, None, dense=view.dense)
    last = view.entries[-1][0] if view.entries else None
    if view.dense and log and last != max(log):
        wrong.append((Fault.HOLE, f"{where}: nothing after {last}, and the log ends at {max(log)}"))
    return wrong


def _check_entries(
    where: str, entries: list[Entry], log: dict[int, str], last: int | None, *, dense: bool
) -> list[tuple[Fault, str]]:
    wrong: list[tuple[Fault, str]] = []
    for seq, text in entries:
        if last is not None and seq <= last:
            wrong.append((Fault.BACKWARDS, f"{where}: {seq} after {last}"))
        elif last is not None and dense and seq != last + 1:
            wrong.append((Fault.HOLE, f"{where}: {seq} after {last}"))
        if log.get(seq) != text:
            wrong.append((Fault.TWO_VALUES, f"{where}: {text!r} at {seq}, where the log has {log.get(seq)!r}"))
        last = seq
    return wrong
