"""chat/*.py: imports go down, never sideways, and each outside library has its one module."""

import ast
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.sources import modules

FLOORS = [
    {"errors"},
    {"broker", "config", "pace", "protocol", "stocks"},
    {"db", "schema", "security", "amqp", "local", "frames", "gather", "machine"},
    {"brokers", "hub", "journal", "programs"},
    {"users", "rooms", "messages", "commands"},
    {"keys"},
    {"middleware", "page", "resume", "postgres", "rabbitmq", "compose"},
    {"api", "ws", "relay", "bot"},
    {"services", "seed", "app"},
    {"cli"},
    {"__main__"},
]
FLOOR = {module: number for number, floor in enumerate(FLOORS) for module in floor}
PURE = FLOORS[0] | FLOORS[1]

# Which module may know which library.
LIBRARIES = {
    "aiopg": {"db"},
    "psycopg2": {"db", "schema", "postgres"},  # the last two run beside the server
    "yoyo": {"schema"},
    "aiormq": {"amqp"},
    "argon2": {"security"},
    "jwt": {"security"},
    "email_validator": {"users"},
    "msgspec": {"protocol", "hub", "api"},
    "aiohttp": {module for number, floor in enumerate(FLOORS) if number > 4 for module in floor},
}


class Import(NamedTuple):
    """`by` imports `what`, which is a module of chat or the name of a library."""

    by: str
    what: str
    ours: bool


def imports(path: Path) -> list[Import]:
    """All imports of a module, also those within functions."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path.name}: imports say whole names"
            module = node.module or ""
            names = [f"chat.{alias.name}" for alias in node.names] if module == "chat" else [module]
        for name in names:
            top, _, rest = name.partition(".")
            found.append(Import(path.stem, rest.split(".")[0] if top == "chat" else top, top == "chat"))
    return found


MODULES = modules()
ALL = [each for path in MODULES for each in imports(path)]


def test_every_module_has_its_floor() -> None:
    assert {path.stem for path in MODULES} - {"__init__"} == set(FLOOR)
    assert sum(map(len, FLOORS)) == len(FLOOR)


def test_imports_go_down_never_sideways() -> None:
    wrong = [each for each in ALL if each.ours and FLOOR[each.what] >= FLOOR[each.by]]
    assert wrong == []


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_library_has_its_module(library: str) -> None:
    knowing = {each.by for each in ALL if not each.ours and each.what == library}
    assert knowing
    assert knowing <= LIBRARIES[library]


def test_there_are_no_other_libraries() -> None:
    outside = {each.what for each in ALL if not each.ours} - sys.stdlib_module_names
    assert outside == LIBRARIES.keys()


def test_pure_modules_wait_for_nothing_and_talk_to_nobody() -> None:
    busy = {"asyncio", "socket", "threading", "subprocess", "aiohttp", "selectors", "signal", "ssl", "concurrent"}
    assert [each for each in ALL if each.by in PURE and each.what in busy] == []


def test_the_robot_knows_neither_database_nor_hub() -> None:
    assert {each.what for each in ALL if each.by == "bot" and each.ours} & {"db", "hub", "journal", "security"} == set()
