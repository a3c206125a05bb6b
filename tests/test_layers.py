"""chat/: each outside library has its one module. import-linter, in `make check`, keeps the order of the packages."""

import ast
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.support.settings import ROOT
from tests.support.sources import modules

# Which modules may know which library: names of modules, or of whole packages.
LIBRARIES = {
    "aiopg": {"db.pool"},
    "psycopg2": {"db.pool", "db.errors", "db.migrations"},
    "yoyo": {"db.migrations"},
    "aiormq": {"broker.rabbitmq"},
    "argon2": {"auth.passwords"},
    "jwt": {"auth.tokens"},
    "email_validator": {"domain.accounts"},
    "msgspec": {"protocol", "http.requests", "realtime.hub"},
    "aiohttp": {"app", "lifecycle", "http", "realtime", "bots.stock_bot"},
}
PURE = {"errors", "config", "protocol", "eventlog.event", "bots.stock_quotes", "realtime.rate_limit"}
BLOCKING = {"asyncio", "socket", "threading", "subprocess", "aiohttp", "selectors", "signal", "ssl", "concurrent"}


class Import(NamedTuple):
    """Module `importer` (without "chat.") imports the outside library `library`."""

    importer: str
    library: str


def imports(path: Path) -> list[Import]:
    """All imports of a module from outside chat/, also those within functions."""
    importer = ".".join(path.relative_to(ROOT / "chat").with_suffix("").parts)
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{importer}: imports say whole names"
            names = [node.module or ""]
        found += [Import(importer, name.partition(".")[0]) for name in names]
    return [each for each in found if each.library != "chat"]


IMPORTS = [each for path in modules() for each in imports(path)]


def within(module: str, places: set[str]) -> bool:
    """Whether a module is one of these, or lies in one of these packages."""
    return any(module == place or module.startswith(f"{place}.") for place in places)


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_library_has_its_module(library: str) -> None:
    importers = {each.importer for each in IMPORTS if each.library == library}
    assert importers
    assert [each for each in importers if not within(each, LIBRARIES[library])] == []


def test_there_are_no_other_libraries() -> None:
    outside = {each.library for each in IMPORTS} - sys.stdlib_module_names
    assert outside == LIBRARIES.keys()


def test_pure_modules_await_nothing_and_import_no_io() -> None:
    assert [each for each in IMPORTS if within(each.importer, PURE) and each.library in BLOCKING] == []
