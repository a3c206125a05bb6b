"""sql/: each file does what its header says, PostgreSQL understands it, and the code uses it."""

import ast
import importlib
import re
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import psycopg2
import pytest

from chat import config
from chat.db.rows import check_columns
from chat.db.statements import SQL, prepare_sql
from chat.eventlog.event import Event
from devtools import schema
from tests.support.settings import ROOT
from tests.support.sources import modules

SAMPLES: dict[str, Any] = {
    "bigint": 1,
    "text": "x",
    "boolean": True,
    "double precision": 1.0,
    "bigint[]": [1],
    "text[]": ["x"],
}  # a value for each type of parameter; the empty database has user 1 and room 1
TYPE = "|".join(map(re.escape, sorted(SAMPLES, key=len, reverse=True)))


class File(NamedTuple):
    """The parts of a file of sql/."""

    name: str  # noun/verb
    about: str
    params: dict[str, str]  # type by name, as in the header
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
    params = {match[1]: match[2] for match in re.finditer(rf"\b(\w+) ({TYPE})(?!\w)", parts[2])}
    assert params or parts[2] == ": none.", f"{name}: the Params cannot be read"
    text = whole[header.end() :]
    statements = [each for each in re.split(r";\s*$", text, flags=re.MULTILINE) if each.strip()]
    return File(name, parts[1], params, parts[3], text, statements)


FEWEST_ROW_CLASSES = 13  # a scan that finds fewer does not see the calls
BY_PATH = ["schema/dump", "schema/list_unsupported"]  # devtools reads them by path
FILES = [read(path) for path in sorted(SQL.glob("*/*.sql"))]
each_file = pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)


@pytest.fixture(scope="module")
def connection() -> Iterator[Any]:
    """A connection to an empty database with the current schema."""
    with schema.scratch(config.load(dotenv=ROOT / ".env").database_url) as url:
        schema.reset(url)
        with closing(psycopg2.connect(url)) as connection:
            yield connection


@each_file
def test_its_header_has_its_parameters(file: File) -> None:
    assert file.about.endswith((".", "?"))
    assert file.params.keys() == set(re.findall(r"%\((\w+)\)s", file.text))


@each_file
def test_each_parameter_is_named_and_has_the_type_of_the_header(file: File) -> None:
    rest = re.sub(r"%%|%\(\w+\)s", "", file.text)
    assert "%" not in rest
    for name, type_ in re.findall(r"%\((\w+)\)s(?:::([a-z ]+(?:\[\])?))?", file.text):
        assert type_.strip().removesuffix(" AS") == file.params[name], name


@each_file
def test_its_columns_are_spelled_out(file: File) -> None:
    assert "--" not in file.text, "comments belong in the header"
    rest = re.sub(r"\bevent\.\*", "", file.text)  # the columns of event_rows, which stand in the view alone
    assert not re.search(r"\w\.\*|(SELECT|RETURNING|,)\s+\*", rest)
    assert file.text.endswith(";\n")


@pytest.mark.parametrize("file", [file for file in FILES if "readable_room" in file.text], ids=lambda file: file.name)
def test_postgresql_expands_the_visibility_rule(file: File, connection: Any) -> None:
    """A call of the function would cost several microseconds for each row."""
    try:
        assert "readable_room" not in plan(file, connection)
        with connection.cursor() as cursor:
            cursor.execute("ALTER FUNCTION readable_room STRICT")
        assert "readable_room" in plan(file, connection)
    finally:
        connection.rollback()


def plan(file: File, connection: Any) -> str:
    """Return the plans of a file's statements, prepared as the server prepares them."""
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


def columns_of(file: File, connection: Any) -> tuple[str, ...]:
    """Run a file and return the names of its columns."""
    try:
        with connection.cursor() as cursor:
            cursor.execute(file.text, {name: SAMPLES[type_] for name, type_ in file.params.items()})
            return tuple(column.name for column in cursor.description or ())
    finally:
        connection.rollback()


@each_file
def test_it_returns_the_columns_of_the_header(file: File, connection: Any) -> None:
    columns = columns_of(file, connection)
    if file.returns == "nothing.":
        assert columns == ()
        return
    assert columns
    if "columns of an event" in file.returns:
        assert columns[-len(Event._fields) :] == Event._fields
        columns = columns[: -len(Event._fields)]
    places = [re.search(rf"\b{column}\b", file.returns) for column in columns]
    assert all(places), f"{columns} are not all in: {file.returns}"
    starts = [place.start() for place in places if place]
    assert starts == sorted(starts), "the header has them in another order"


# --- the code that uses them --------------------------------------------------------------------------


def strings() -> set[str]:
    """Return every string in chat/."""
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


def test_row_classes_have_the_columns_of_their_files(connection: Any) -> None:
    by_name = {file.name: file for file in FILES}
    checked = set()
    for path in modules():
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            match call:
                case ast.Call(
                    func=ast.Attribute(attr="fetch_all" | "fetch_one"),
                    args=[ast.Constant(value=str(name)), ast.Name(id=row)],
                ):
                    module = importlib.import_module(".".join(path.relative_to(ROOT).with_suffix("").parts))
                    check_columns(name, getattr(module, row), columns_of(by_name[name], connection))
                    checked.add(name)
    assert len(checked) >= FEWEST_ROW_CLASSES


def test_no_sql_stands_in_the_code() -> None:
    exceptions = {"migrations.py"}  # it creates databases and does not use the pool
    for path in modules():
        if path.name not in exceptions:
            found = re.search(r"\b(SELECT \w|INSERT INTO|DELETE FROM|UPDATE \w+ SET)", path.read_text(encoding="utf-8"))
            assert not found, f"{path.name}: {found}"
