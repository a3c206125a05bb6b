"""What happened, and whether it may have: a checker for logs, in the manner of Jepsen's, with a room as the partition.

A history has three sides: what the writers were told, what the observers saw, and the log as it stands in the end.
`unknown`, a broken connection and no answer leave a write undecided: it may be in the log, or not. `unavailable`
says that it is not, and a write that got nothing else must not be there.
"""

from collections import defaultdict
from dataclasses import dataclass, field
from enum import StrEnum

Entry = tuple[int, str]  # a number, and what stands there


class Fault(StrEnum):
    """What a history can be broken by."""

    LOST = "lost"  # acked, and not in the log
    DOUBLED = "doubled"  # one write, two entries
    TWO_VALUES = "two values"  # for one number, or two numbers for one write
    BACKWARDS = "backwards"  # an observer saw a number that was not above the last
    HOLE = "hole"  # … or one too far; or the log itself is not dense
    RISEN = "risen"  # certainly failed, and there all the same
    STRANGE = "strange"  # in the log, and nobody wrote it


@dataclass
class Write:
    """One write with all its tries. `seqs`: what its acks said; `undecided`, `refused`: how many tries ended so."""

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
    """What one observer saw of one room, in order. `dense`: he should have seen every number after the first."""

    who: str
    room: int
    dense: bool = True
    entries: list[Entry] = field(default_factory=list)


@dataclass
class History:
    writes: list[Write] = field(default_factory=list)
    views: list[View] = field(default_factory=list)
    logs: dict[int, list[Entry]] = field(default_factory=dict)  # of every room, in the end


def check(history: History) -> list[tuple[Fault, str]]:
    """Everything that is wrong with it, in words. A text that begins with * is the server's own, nobody's write."""
    wrong: list[tuple[Fault, str]] = []
    written: dict[int, dict[str, Write]] = defaultdict(dict)
    for write in history.writes:
        written[write.room][write.text] = write
    for room, log in history.logs.items():
        wrong += _check_log(room, log, written[room])
    for view in history.views:
        wrong += _check_view(view, dict(history.logs[view.room]))
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


def _check_view(view: View, log: dict[int, str]) -> list[tuple[Fault, str]]:
    wrong: list[tuple[Fault, str]] = []
    last = None
    for seq, text in view.entries:
        where = f"{view.who}, room {view.room}"
        if last is not None and seq <= last:
            wrong.append((Fault.BACKWARDS, f"{where}: {seq} after {last}"))
        elif last is not None and view.dense and seq != last + 1:
            wrong.append((Fault.HOLE, f"{where}: {seq} after {last}"))
        if log.get(seq) != text:
            wrong.append((Fault.TWO_VALUES, f"{where}: {text!r} at {seq}, where the log has {log.get(seq)!r}"))
        last = seq
    if view.dense and log and last != max(log):
        wrong.append(
            (Fault.HOLE, f"{view.who}, room {view.room}: nothing after {last}, and the log ends at {max(log)}")
        )
    return wrong
