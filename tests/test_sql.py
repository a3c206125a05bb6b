"""sql/: each file keeps to its header, is understood by PostgreSQL, and is used."""

import ast
import re
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import psycopg2
import pytest

from chat import config
from chat.db.statements import SQL, prepare_sql
from chat.eventlog.event import Event
from devtools import schema
from tests.actors import ROOT
from tests.sources import modules

SAMPLES: dict[str, Any] = {
    "bigint": 1,
    "text": "x",
    "boolean": True,
    "double precision": 1.0,
    "bigint[]": [1],
    "text[]": ["x"],
}  # each type of parameter, and a value that the empty database knows: user 1 and room 1
TYPE = "|".join(map(re.escape, sorted(SAMPLES, key=len, reverse=True)))


class File(NamedTuple):
    """A file of sql/, taken apart."""

    name: str  # noun/verb
    about: str
    params: dict[str, str]  # by name, the type that the header tells
    returns: str
    text: str  # without comments
    statements: list[str]


def read(path: Path) -> File:
    name = f"{path.parent.name}/{path.stem}"
    whole = path.read_text(encoding="utf-8")
    header = re.match(r"(--.*\n)+", whole)
    assert header, f"{name} has no header"
    words = re.sub(r"\n?-- ?", " ", header[0]).strip()
    parts = re.fullmatch(r"(?s)(.+?) Params([:,].+?) Returns: (.+)", words)
    assert parts, f"{name}: what it is for, Params and Returns are expected"
    told = {match[1]: match[2] for match in re.finditer(rf"\b(\w+) ({TYPE})(?!\w)", parts[2])}
    assert told or parts[2] == ": none.", f"{name}: the Params cannot be read"
    text = whole[header.end() :]
    statements = [each for each in re.split(r";\s*$", text, flags=re.MULTILINE) if each.strip()]
    return File(name, parts[1], told, parts[3], text, statements)


BY_PATH = ["schema/dump", "schema/list_unsupported"]  # used by devtools, which run where no server is
FILES = [read(path) for path in sorted(SQL.glob("*/*.sql"))]
each_file = pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)


@pytest.fixture(scope="module")
def connection() -> Iterator[Any]:
    """To a migrated database in which nothing has happened yet."""
    with schema.scratch(config.load(dotenv=ROOT / ".env").database_url) as url:
        schema.reset(url)
        with closing(psycopg2.connect(url)) as connection:
            yield connection


@each_file
def test_its_header_says_what_goes_in_and_what_comes_out(file: File) -> None:
    assert file.about.endswith((".", "?"))
    assert file.params.keys() == set(re.findall(r"%\((\w+)\)s", file.text))


@each_file
def test_each_parameter_is_named_and_has_the_type_that_its_header_tells(file: File) -> None:
    rest = re.sub(r"%%|%\(\w+\)s", "", file.text)
    assert "%" not in rest
    for name, type_ in re.findall(r"%\((\w+)\)s(?:::([a-z ]+(?:\[\])?))?", file.text):
        assert type_.strip().removesuffix(" AS") == file.params[name], name


@each_file
def test_its_columns_are_spelled_out(file: File) -> None:
    assert "--" not in file.text, "comments belong into the header"
    rest = re.sub(r"\bevent\.\*", "", file.text)  # the columns of event_rows, which stand in the view alone
    assert not re.search(r"\w\.\*|(SELECT|RETURNING|,)\s+\*", rest)
    assert file.text.endswith(";\n")


@pytest.mark.parametrize("file", [file for file in FILES if "readable_room" in file.text], ids=lambda file: file.name)
def test_postgresql_expands_the_visibility_rule(file: File, connection: Any) -> None:
    """As a function that is called, it would cost several microseconds a row."""
    try:
        assert "readable_room" not in plan(file, connection)
        with connection.cursor() as cursor:
            cursor.execute("ALTER FUNCTION readable_room STRICT")
        assert "readable_room" in plan(file, connection)
    finally:
        connection.rollback()


def plan(file: File, connection: Any) -> str:
    """The plans of a file's statements, prepared as the server prepares them."""
    prepares, _ = prepare_sql(file.name)
    lines: list[str] = []
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL plan_cache_mode = force_generic_plan; SET LOCAL enable_seqscan = off")
        for name, prepare in prepares.items():
            nulls = ", ".join("NULL" for _ in set(re.findall(r"\$\d+", prepare)))
            cursor.execute(f'{prepare}; EXPLAIN VERBOSE EXECUTE "{name}"' + (f" ({nulls})" if nulls else ""))
            lines += [line for (line,) in cursor.fetchall()]
            cursor.execute(f'DEALLOCATE "{name}"')
    assert lines
    return "\n".join(lines)


def test_the_view_of_events_has_their_fields(connection: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT event.* FROM event_rows AS event")
        assert tuple(column.name for column in cursor.description) == Event._fields


@each_file
def test_postgresql_can_plan_it(file: File, connection: Any) -> None:
    try:
        with connection.cursor() as cursor:
            for statement in file.statements:
                cursor.execute(f"EXPLAIN {statement}", dict.fromkeys(file.params))
                assert cursor.fetchall()
    finally:
        connection.rollback()


@each_file
def test_it_returns_what_its_header_tells(file: File, connection: Any) -> None:
    try:
        with connection.cursor() as cursor:
            cursor.execute(file.text, {name: SAMPLES[type_] for name, type_ in file.params.items()})
            columns = [column.name for column in cursor.description or ()]
    finally:
        connection.rollback()
    if file.returns == "nothing.":
        assert columns == []
        return
    assert columns
    if "columns of an event" in file.returns:
        assert tuple(columns[-len(Event._fields) :]) == Event._fields
        columns = columns[: -len(Event._fields)]
    places = [re.search(rf"\b{column}\b", file.returns) for column in columns]
    assert all(places), f"{columns} are not all in: {file.returns}"
    starts = [place.start() for place in places if place]
    assert starts == sorted(starts), "the header tells them in another order"


# --- the code that uses them --------------------------------------------------------------------------


def strings() -> set[str]:
    """Every string in chat/*.py."""
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in modules()]
    constants = (node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Constant))
    return {node.value for node in constants if isinstance(node.value, str)}


@each_file
def test_it_is_used(file: File) -> None:
    if file.name in BY_PATH:
        assert f'"{file.name.removeprefix("schema/")}.sql"' in (ROOT / "devtools" / "schema.py").read_text()
    else:
        assert file.name in strings()


def test_every_name_that_is_used_has_a_file() -> None:
    nouns = {path.name for path in SQL.iterdir() if path.is_dir()}
    used = {each for each in strings() if re.fullmatch(r"[a-z]+/[a-z_]+", each) and each.split("/")[0] in nouns}
    assert used <= {file.name for file in FILES}
    assert len(used) == len(FILES) - len(BY_PATH)


def test_no_sql_stands_in_the_code() -> None:
    at_home = {"migrations.py"}  # they make databases, and run where no server is
    for path in modules():
        if path.name not in at_home:
            found = re.search(r"\b(SELECT \w|INSERT INTO|DELETE FROM|UPDATE \w+ SET)", path.read_text(encoding="utf-8"))
            assert not found, f"{path.name}: {found}"
