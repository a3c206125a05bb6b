"""The checker finds what it is there for: each way of breaking a history is broken here on purpose."""

import copy
from collections.abc import Callable

import pytest

from tests.faults.history import Fault, History, View, Write, check

ROOM = 1


def good() -> History:
    """Two acked writes, one that is undecided and there, one that is undecided and not, one that failed."""
    log = [(1, "*created"), (2, "a"), (3, "b"), (4, "u")]
    writes = [
        Write(ROOM, "a", seqs=[2]),
        Write(ROOM, "b", seqs=[3, 3], undecided=1, refused=2),
        Write(ROOM, "u", undecided=1),
        Write(ROOM, "v", undecided=2, refused=1),
        Write(ROOM, "f", refused=1),
    ]
    views = [View("ann", ROOM, entries=log[1:]), View("old", ROOM, dense=False, entries=[log[1], log[3]])]
    return History(writes, views, {ROOM: log})


def test_a_good_history_is_good() -> None:
    assert check(good()) == []


def lose_an_acked_write(history: History) -> None:
    history.writes.append(Write(ROOM, "lost", seqs=[5]))


def lose_the_end(history: History) -> None:
    history.writes[2].seqs.append(4)
    history.logs[ROOM] = history.logs[ROOM][:3]


def store_a_write_twice(history: History) -> None:
    history.logs[ROOM].append((5, "a"))


def ack_two_numbers(history: History) -> None:
    history.writes[0].seqs.append(3)


def ack_one_number_twice(history: History) -> None:
    history.writes[2].seqs.append(3)


def see_another_value(history: History) -> None:
    history.views[0].entries = [(2, "a"), (3, "x"), (4, "u")]


def see_what_is_not_there(history: History) -> None:
    history.views[1].entries = [(2, "a"), (9, "x")]


def see_backwards(history: History) -> None:
    history.views[1].entries = [(4, "u"), (2, "a")]


def see_twice(history: History) -> None:
    history.views[0].entries = [(2, "a"), (3, "b"), (3, "b"), (4, "u")]


def skip_one(history: History) -> None:
    history.views[0].entries = [(2, "a"), (4, "u")]


def miss_the_end(history: History) -> None:
    history.views[0].entries = [(2, "a"), (3, "b")]


def leave_a_number_out(history: History) -> None:
    history.logs[ROOM] = [(1, "*created"), (2, "a"), (3, "b"), (5, "u")]


def store_a_failed_write(history: History) -> None:
    history.logs[ROOM].append((5, "f"))


def store_what_nobody_wrote(history: History) -> None:
    history.logs[ROOM].append((5, "who was that?"))


@pytest.mark.parametrize(
    ("break_it", "fault"),
    [
        (lose_an_acked_write, Fault.LOST),
        (lose_the_end, Fault.LOST),
        (store_a_write_twice, Fault.DOUBLED),
        (ack_two_numbers, Fault.TWO_VALUES),
        (ack_one_number_twice, Fault.LOST),
        (see_another_value, Fault.TWO_VALUES),
        (see_what_is_not_there, Fault.TWO_VALUES),
        (see_backwards, Fault.BACKWARDS),
        (see_twice, Fault.BACKWARDS),
        (skip_one, Fault.HOLE),
        (miss_the_end, Fault.HOLE),
        (leave_a_number_out, Fault.HOLE),
        (store_a_failed_write, Fault.RISEN),
        (store_what_nobody_wrote, Fault.STRANGE),
    ],
)
def test_a_broken_history_is_found(break_it: Callable[[History], None], fault: Fault) -> None:
    history = copy.deepcopy(good())
    break_it(history)
    assert fault in {found for found, _ in check(history)}
