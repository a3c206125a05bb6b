"""chat/db/rows.py: rows become objects of a row class."""

from typing import Any, NamedTuple

import pytest

from chat.db.rows import check_columns, row_mapping


class Inner(NamedTuple):
    a: int
    b: str | None


class Plain(NamedTuple):
    n: int
    ordinals: list[int] | None


class Nested(NamedTuple):
    n: int
    inner: Inner


class Optional(NamedTuple):
    n: int
    inner: Inner | None


class Alone(NamedTuple):
    inner: Inner | None


class Deep(NamedTuple):
    n: int
    nested: Optional


@pytest.mark.parametrize(
    ("row", "columns", "values", "made"),
    [
        (Plain, ("n", "ordinals"), (1, [2]), Plain(1, [2])),
        (Plain, ("n", "ordinals"), (None, None), Plain._make((None, None))),
        (Nested, ("n", "a", "b"), (1, 2, "x"), Nested(1, Inner(2, "x"))),
        (Nested, ("n", "a", "b"), (1, None, None), Nested(1, Inner._make((None, None)))),
        (Optional, ("n", "a", "b"), (1, 2, None), Optional(1, Inner(2, None))),
        (Optional, ("n", "a", "b"), (1, None, None), Optional(1, None)),
        (Alone, ("a", "b"), (1, "x"), Alone(Inner(1, "x"))),
        (Alone, ("a", "b"), (None, None), Alone(None)),
        (Deep, ("n", "n", "a", "b"), (1, 2, 3, "x"), Deep(1, Optional(2, Inner(3, "x")))),
    ],
)
def test_a_row_becomes_an_object(row: Any, columns: tuple[str, ...], values: tuple[Any, ...], made: Any) -> None:
    mapping = row_mapping(row)
    assert mapping.columns == columns
    assert mapping.make(values) == made
    assert type(mapping.make(values)) is row


@pytest.mark.parametrize("row", [tuple, dict, int, list[int]])
def test_another_class_is_refused(row: Any) -> None:
    with pytest.raises(TypeError, match="is not a NamedTuple class"):
        row_mapping(row)


def test_columns_are_compared_with_their_order() -> None:
    check_columns("x/get", Nested, ["n", "a", "b"])
    for columns in (["n", "b", "a"], ["n", "a"], ["n", "a", "b", "c"], []):
        with pytest.raises(TypeError, match=r"sql/x/get.sql returns the columns .+, but Nested expects n, a, b"):
            check_columns("x/get", Nested, columns)
