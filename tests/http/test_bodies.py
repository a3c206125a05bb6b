"""The bodies of REST answers and the rows of domain/ from which they are made, field by field in the same order."""

from typing import NamedTuple

import pytest

from chat.domain.accounts import User
from chat.domain.members import Member
from chat.domain.rooms import Room
from chat.protocol.schemas import Body, MemberBody, RoomBody, UserBody

# By body: the columns that do not leave the server, and the fields that are not columns.
HIDDEN_COLUMNS: dict[type[Body], set[str]] = {}
ADDED_FIELDS: dict[type[Body], set[str]] = {}


@pytest.mark.parametrize(("row", "body"), [(User, UserBody), (Room, RoomBody), (Member, MemberBody)])
def test_a_body_has_the_fields_of_its_row(row: type[NamedTuple], body: type[Body]) -> None:
    hidden, added = HIDDEN_COLUMNS.get(body, set()), ADDED_FIELDS.get(body, set())
    assert hidden <= set(row._fields) and added <= set(body.__struct_fields__)
    columns = {name: type_ for name, type_ in row.__annotations__.items() if name not in hidden}
    fields = {name: type_ for name, type_ in body.__annotations__.items() if name not in added}
    assert list(fields.items()) == list(columns.items())
