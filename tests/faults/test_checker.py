"""Histories that are broken on purpose, in each way that the checker has to find."""

import copy
from collections.abc import Callable

import pytest

from tests.faults.checker import Change, Fault, History, Outcome, View, Visit, Write, check

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


def test_a_valid_history_has_no_fault() -> None:
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


def store_a_message_of_no_write(history: History) -> None:
    history.logs[ROOM].append((5, "of no write"))


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
        (store_a_message_of_no_write, Fault.STRANGE),
    ],
)
def test_a_broken_history_is_found(break_it: Callable[[History], None], fault: Fault) -> None:
    history = copy.deepcopy(good())
    break_it(history)
    assert fault in {found for found, _ in check(history)}


# --- joins and leaves ---------------------------------------------------------------------------------

LOG = [
    (1, "*created "),
    (2, "*joined eve"),
    (3, "a"),
    (4, "*left eve"),
    (5, "*joined bob"),
    (6, "*joined eve"),
    (7, "b"),
]


def changes(*outcomes: str) -> list[Change]:
    """The tries of eve, in words like `joined acked`."""
    return [Change(ROOM, "eve", action, Outcome(outcome)) for action, outcome in map(str.split, outcomes)]


def lively() -> History:
    """Eve joins, leaves and joins again, on websockets that begin with the join or resume."""
    history = History([Write(ROOM, "a", seqs=[3]), Write(ROOM, "b", seqs=[7])], [], {ROOM: list(LOG)})
    history.changes = changes(
        "left acked", "joined acked", "left refused", "left acked", "joined acked", "joined acked"
    )
    history.visits = [
        Visit("eve", ROOM, entries=LOG[1:4]),
        Visit("eve", ROOM, entries=LOG[5:7], stays=True),
        Visit("eve", ROOM, after=2, entries=LOG[2:7], live=4, stays=True),  # the leave is history there
        Visit("eve", ROOM, after=7, stays=True),
        Visit("bob", ROOM, entries=LOG[4:6]),
    ]
    history.members = {ROOM: {"bob", "eve"}}
    return history


@pytest.mark.parametrize(
    "changes",
    [
        changes("joined acked", "left acked", "joined acked"),
        changes("joined undecided", "left acked", "joined acked"),
        changes("joined undecided", "joined acked", "left acked"),  # the first one came late, after the leave
        changes("joined undecided", "left acked"),  # the undecided join took effect twice
        changes("joined acked", "left undecided", "joined acked"),
        changes("joined acked", "left undecided", "left refused", "joined undecided", "left undecided"),
    ],
)
def test_a_valid_history_of_joins_and_leaves_has_no_fault(changes: list[Change]) -> None:
    history = lively()
    history.changes = changes
    assert check(history) == []


def test_a_user_who_is_not_a_member_in_the_end_need_not_get_all() -> None:
    history = lively()
    history.logs[ROOM] = LOG[:5]
    history.writes.pop()
    history.changes = changes("joined acked", "left acked")
    history.visits = [Visit("eve", ROOM, entries=LOG[1:4], stays=True), Visit("eve", ROOM, stays=True)]
    history.members = {ROOM: {"bob"}}
    assert check(history) == []


def join_twice(history: History) -> None:
    history.logs[ROOM].append((8, "*joined eve"))


def leave_twice(history: History) -> None:
    history.logs[ROOM] += [(8, "*left eve"), (9, "*left eve")]


def leave_without_a_join(history: History) -> None:
    history.logs[ROOM].append((8, "*left ann"))


def lose_an_acked_join(history: History) -> None:
    history.changes += changes("left acked", "joined acked")
    history.logs[ROOM].append((8, "*left eve"))


def lose_an_acked_leave(history: History) -> None:
    history.changes += changes("left acked")


def lose_a_leave_and_the_join_after_it(history: History) -> None:
    history.changes += changes("left acked", "joined acked")


def store_a_failed_leave(history: History) -> None:
    history.changes += changes("left refused")
    history.logs[ROOM].append((8, "*left eve"))


def leave_for_another_user(history: History) -> None:
    history.changes = changes("joined acked", "left acked", "joined acked")
    history.logs[ROOM].append((8, "*left eve"))


def join_another_room_for_another_user(history: History) -> None:
    history.logs[2] = [(1, "*created "), (2, "*joined eve")]
    history.changes = changes("joined acked", "left acked", "joined acked")


def come_back_after_an_acked_leave(history: History) -> None:
    history.changes = changes("joined acked", "joined acked", "left undecided", "joined acked", "left acked")


def forget_a_member(history: History) -> None:
    history.members[ROOM] = {"bob"}


def keep_a_member(history: History) -> None:
    history.members[ROOM] = {"bob", "eve", "ann"}


def hear_after_the_leave(history: History) -> None:
    history.visits[0].entries = LOG[1:5]


def hear_after_the_leave_and_a_new_join(history: History) -> None:
    """Between the two, that is: what follows is right."""
    history.visits[0].entries = LOG[1:7]


def hear_after_a_leave_that_came_after_a_resume(history: History) -> None:
    history.visits[2].live = 1


def hear_without_a_join(history: History) -> None:
    history.visits[0].entries = LOG[2:4]


def hear_a_hole(history: History) -> None:
    history.visits[0].entries = [LOG[1], LOG[3]]


def hear_too_late_after_a_resume(history: History) -> None:
    history.visits[2].entries = LOG[3:7]


def hear_again_after_a_resume(history: History) -> None:
    history.visits[3].entries = LOG[6:7]


def hear_an_old_join(history: History) -> None:
    history.visits[0].entries = [*LOG[1:4], LOG[1]]


def hear_another_value(history: History) -> None:
    history.visits[0].entries = [LOG[1], (3, "x"), LOG[3]]


def miss_what_comes_after_the_join(history: History) -> None:
    history.visits[1].entries = LOG[5:6]


def miss_all_after_a_resume(history: History) -> None:
    history.visits[3].after = 5


def miss_the_leave(history: History) -> None:
    history.visits[0] = Visit("eve", ROOM, entries=LOG[1:3], stays=True)


def never_hear_of_the_join(history: History) -> None:
    history.visits.append(Visit("eve", ROOM, stays=True))


Break = Callable[[History], None]


@pytest.mark.parametrize(
    ("break_it", "fault"),
    [
        (join_twice, Fault.DOUBLED),
        (leave_twice, Fault.DOUBLED),
        (leave_without_a_join, Fault.DOUBLED),
        (lose_an_acked_join, Fault.LOST),
        (lose_an_acked_leave, Fault.LOST),
        (lose_a_leave_and_the_join_after_it, Fault.LOST),
        (store_a_failed_leave, Fault.RISEN),
        (leave_for_another_user, Fault.STRANGE),
        (join_another_room_for_another_user, Fault.STRANGE),
        (come_back_after_an_acked_leave, Fault.STRANGE),
        (forget_a_member, Fault.MEMBERS),
        (keep_a_member, Fault.MEMBERS),
        (hear_after_the_leave, Fault.OVERSTAYED),
        (hear_after_the_leave_and_a_new_join, Fault.OVERSTAYED),
        (hear_after_a_leave_that_came_after_a_resume, Fault.OVERSTAYED),
        (hear_without_a_join, Fault.UNINVITED),
        (hear_a_hole, Fault.HOLE),
        (hear_too_late_after_a_resume, Fault.HOLE),
        (hear_again_after_a_resume, Fault.BACKWARDS),
        (hear_an_old_join, Fault.BACKWARDS),
        (hear_another_value, Fault.TWO_VALUES),
        (miss_what_comes_after_the_join, Fault.HOLE),
        (miss_all_after_a_resume, Fault.HOLE),
        (miss_the_leave, Fault.HOLE),
        (never_hear_of_the_join, Fault.HOLE),
    ],
)
def test_a_broken_history_of_joins_and_leaves_is_found(break_it: Break, fault: Fault) -> None:
    history = copy.deepcopy(lively())
    assert check(history) == []
    break_it(history)
    assert fault in {found for found, _ in check(history)}
