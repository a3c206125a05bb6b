"""Row classes: a query's result as typed rows.

A row class is a NamedTuple with a field for each column. If its last field is itself a row class, that one stands for
the remaining columns, and for None where it may be None and its first column is null:

    class Page(NamedTuple):                  ordinals | room_id, seq, kind, …
        ordinals: str                        '1 3'    | 7, 1, 1, …             → Page('1 3', Event(7, 1, 1, …))
        event: Event | None                  {2}      | null, null, null, …    → Page([2], None)
"""

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, NamedTuple, TypeVar, get_args, get_type_hints

Row = TypeVar("Row", bound=tuple[Any, ...])


class RowMapping(NamedTuple):
    """How rows become objects of a row class."""

    columns: tuple[str, ...]
    make: Callable[[tuple[Any, ...]], Any]


@cache
def row_mapping(row: Any) -> RowMapping:
    """Return the mapping of a row class. Raises `TypeError` if it is not one."""
    if not _is_row_class(row):
        raise TypeError(f"{row!r} is not a NamedTuple class.")
    *fields, last = row._fields
    hint = get_type_hints(row)[last]
    inner = next((each for each in (hint, *get_args(hint)) if _is_row_class(each)), None)
    if inner is None:
        return RowMapping(row._fields, row._make)
    inner_columns, make_inner = row_mapping(inner)
    first = len(fields)
    if type(None) in get_args(hint):

        def make(values: tuple[Any, ...]) -> Any:
            return row(*values[:first], None if values[first] is None else make_inner(values[first:]))
    else:

        def make(values: tuple[Any, ...]) -> Any:
            return row(*values[:first], make_inner(values[first:]))

    return RowMapping((*fields, *inner_columns), make)


def check_columns(name: str, row: type[Row], columns: Sequence[str]) -> None:
    """Raise `TypeError` if sql/<name>.sql does not return the columns that the row class expects, in its order."""
    if tuple(columns) != row_mapping(row).columns:
        raise TypeError(
            f"sql/{name}.sql returns the columns {', '.join(columns) or '(none)'}, "
            f"but {row.__name__} expects {', '.join(row_mapping(row).columns)}. Make them equal, in this order."
        )


def _is_row_class(hint: object) -> bool:
    return isinstance(hint, type) and issubclass(hint, tuple) and hasattr(hint, "_fields")
