"""The papers agree with the code: their tables, links, examples and paths. Sentences are not tested."""

import ast
import configparser
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any, get_args

import aiohttp
import msgspec
import pytest

from chat.app import make_app  # noqa: F401 - imports every module that defines an error
from chat.config import OLD_NAMES, REMOVED_NAMES, Settings
from chat.errors import ChatError
from chat.http.routes import ROUTES
from chat.protocol import frames, schemas
from chat.protocol.close_codes import CloseCode
from tests.support.client import Chat
from tests.support.names import unique
from tests.support.settings import ROOT, as_text
from tests.support.sources import modules

PAPERS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / "tests").rglob("README.md")])
README, API, PROTOCOL, ARCHITECTURE, OPERATIONS, CONTRIBUTING, CHANGELOG = (
    ROOT / name
    for name in (
        "README.md",
        "docs/api.md",
        "docs/protocol.md",
        "docs/architecture.md",
        "docs/operations.md",
        "CONTRIBUTING.md",
        "CHANGELOG.md",
    )
)
# The codes that are put together at run time, by the expression that does it.
COMPUTED_CODES = {"f'{field}_taken'": {"username_taken", "email_taken"}}


def relative(paper: Path) -> str:
    return paper.relative_to(ROOT).as_posix()


def text_of(paper: Path) -> str:
    return paper.read_text(encoding="utf-8")


def table(paper: Path, *head: str) -> list[list[str]]:
    """The rows of the one table of a paper whose head is `head`, as cells."""
    top = f"| {' | '.join(head)} |\n|{'---|' * len(head)}\n"
    assert text_of(paper).count(top) == 1, f"{paper.name} should have one table | {' | '.join(head)} |"
    lines = text_of(paper).split(top)[1].split("\n\n")[0].splitlines()
    rows = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip()[1:-1])] for line in lines]
    assert rows
    assert all(len(row) == len(head) for row in rows), f"a row of {head} has another number of cells"
    return rows


def names(cell: str) -> list[str]:
    """What stands in backticks in a cell."""
    return re.findall(r"`([^`]+)`", cell)


# --- addresses, frames, errors ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("paper", "head"),
    [
        (README, ("address", "method", "what it does")),
        (API, ("address", "method", "body or query", "answer")),
    ],
)
def test_a_paper_has_every_address(paper: Path, head: tuple[str, ...]) -> None:
    listed = [
        (method.strip(), names(address)[0])
        for address, methods, *_ in table(paper, *head)
        for method in methods.split(",")
    ]
    served = [(route.method, re.sub(r"\{(?:room_id:[^/]*|(\w+))\}", _parameter, route.path)) for route in ROUTES]
    assert sorted(listed) == sorted(served)


def _parameter(found: re.Match[str]) -> str:
    return f":{found[1] or 'id'}"


def structs() -> dict[int, list[type[msgspec.Struct]]]:
    """The structs of frames, by type, without those whose fields another one of the same type has, too."""
    found: dict[int, list[type[msgspec.Struct]]] = {}
    for each in vars(frames).values():
        if isinstance(each, type) and issubclass(each, msgspec.Struct):
            tag = each.__struct_config__.tag
            if isinstance(tag, int):
                found.setdefault(int(tag), []).append(each)
    assert len(found) > 7
    return {
        number: [one for one in all_of if not any(_wire_names(one) < _wire_names(other) for other in all_of)]
        for number, all_of in found.items()
    }


def _wire_names(struct: type[msgspec.Struct]) -> set[str]:
    return {field.encode_name for field in msgspec.structs.fields(struct)}


def frame_sections() -> list[tuple[int, str, str]]:
    """The sections of docs/protocol.md that describe a frame: its type, its name, the text."""
    parts = re.split(r"^###? ", text_of(PROTOCOL), flags=re.M)
    found = [re.match(r"(\d+) ([a-z ]+)\n(.*)", part, re.S) for part in parts]
    return [(int(each[1]), each[2], each[3]) for each in found if each]


def test_the_protocol_has_every_frame_with_exactly_its_fields() -> None:
    documented: dict[int, list[list[str]]] = {}
    for number, _, text in frame_sections():
        rows = re.findall(r"^\| (`\w+`\??) \| [a-z]+ \| .*\|$", text, re.M)
        documented.setdefault(number, []).append(sorted(row.replace("`", "") for row in rows))
    expected = {
        number: sorted(
            sorted(field.encode_name + ("?" if field.default is None else "") for field in msgspec.structs.fields(each))
            for each in all_of
        )
        for number, all_of in structs().items()
    }
    assert {number: sorted(found) for number, found in documented.items()} == expected


def test_the_protocol_has_the_fields_of_what_is_in_a_frame() -> None:
    seen = 0
    for number, all_of in structs().items():
        text = "".join(text for each, _, text in frame_sections() if each == number)
        for field in (field for each in all_of for field in msgspec.structs.fields(each)):
            for inner in _structs_in(field.type):
                seen += 1
                row = re.search(rf"^\| `{field.encode_name}`\?? \|.*$", text, re.M)
                assert row is not None
                assert _wire_names(inner) <= set(names(row[0])), f"type {number}: {field.encode_name}"
    assert seen == 4


def _structs_in(annotation: Any) -> Iterator[type[msgspec.Struct]]:
    """The structs that a type is made of: itself, in a union, in a list."""
    if isinstance(annotation, type) and issubclass(annotation, msgspec.Struct):
        yield annotation
    for part in get_args(annotation):
        yield from _structs_in(part)


def test_the_api_has_every_field_of_bodies() -> None:
    bodies = [
        each
        for each in vars(schemas).values()
        if isinstance(each, type) and issubclass(each, msgspec.Struct) and each.__struct_fields__
    ]
    assert len(bodies) > 8
    documented = set(names(prose(API))) | set(re.findall(r'"(\w+)":', text_of(API)))
    for body in bodies:
        assert _wire_names(body) <= documented, body.__name__
    room = [names(field)[0] for field, _ in table(API, "field", "meaning")]
    assert room == [field.encode_name for field in msgspec.structs.fields(schemas.RoomBody)]


def test_the_readme_has_every_frame() -> None:
    listed = [(int(number), name) for number, name, *_ in table(README, "type", "frame", "sent by", "what it says")]
    assert listed == [(number, name) for number, name, _ in frame_sections()]


def errors_raised() -> set[tuple[str, int]]:
    """Every code that the server can answer with, and its status, from the places that make an error."""
    classes = {each.__name__: each for each in _subclasses(ChatError) if each.__module__.startswith("chat.")}
    found: set[tuple[str, int]] = set()
    for path in modules():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Name) and node.exc.id in classes:
                found.add((classes[node.exc.id].code, classes[node.exc.id].status))
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in classes:
                raised = classes[node.func.id]
                said = [keyword.value for keyword in node.keywords if keyword.arg == "code"]
                codes = _codes(said[0]) if said else {raised.code}
                found |= {(code, raised.status) for code in codes}
    return found


def _subclasses(error: type[ChatError]) -> Iterator[type[ChatError]]:
    yield error
    for each in error.__subclasses__():
        yield from _subclasses(each)


def _codes(value: ast.expr) -> set[str]:
    if isinstance(value, ast.Constant):
        return {str(value.value)}
    return COMPUTED_CODES[ast.unparse(value)]


def test_the_api_has_every_error_code_with_its_status_and_no_other() -> None:
    rows = table(API, "code", "status", "meaning", "what to do")
    listed = [(names(code)[0], int(status)) for code, status, *_ in rows]
    assert len(listed) == len(set(listed))
    assert set(listed) == errors_raised()
    assert [status for _, status in listed] == sorted(status for _, status in listed)


def test_the_protocol_has_every_close_code() -> None:
    rows = table(PROTOCOL, "code", "name", "why", "what to do")
    assert [(int(code), names(name)[0]) for code, name, *_ in rows] == [(int(each), each.name) for each in CloseCode]


def test_the_examples_are_json_with_the_fields_of_their_frames() -> None:
    fields_of = {
        number: set().union(*(_wire_names(each) for each in all_of)) | {"type", "duplicate"}
        for number, all_of in structs().items()
    }
    seen = 0
    for paper in (API, PROTOCOL):
        for block in re.findall(r"^```json\n(.*?)^```", text_of(paper), re.M | re.S):
            for example in _values(block):
                seen += 1
                if "type" in example:
                    assert set(example) <= fields_of[example["type"]], example
    assert seen > 5


def _values(block: str) -> Iterator[dict[str, Any]]:
    while block := block.strip():
        value, end = json.JSONDecoder().raw_decode(block)
        yield value
        block = block[end:]


def test_the_examples_in_python_can_be_compiled() -> None:
    blocks = re.findall(r"^```python\n(.*?)^```", text_of(PROTOCOL), re.M | re.S)
    assert blocks
    for block in blocks:
        compile(block, PROTOCOL.name, "exec")


async def test_the_examples_with_curl_are_answered(chat: Chat) -> None:
    """In order, but the sign-up comes first, and with names that no other test has."""
    async with aiohttp.ClientSession(chat.base_url) as http:
        for paper in (README, API):
            blocks = "".join(re.findall(r"^```sh\n(.*?)^```", text_of(paper), re.M | re.S)).replace("\\\n", " ")
            blocks = blocks.replace('"ada', f'"{unique("ada")}').replace('"Release"', f'"{unique("Release")}"')
            commands = re.findall(r"curl -s .*", blocks)
            assert len(commands) > 1
            token = ""
            for command in sorted(commands, key=lambda command: "signup" not in command):
                path, *_ = re.findall(r"(?:localhost:8080|\$URL)(/[^\s\"]+)", command)
                body = re.search(r"-d '(.*?)'", command)
                headers = dict(re.findall(r"""-H ['"]([\w-]+): ([^'"]+)['"]""", command.replace("$TOKEN", token)))
                request = http.request("POST" if body else "GET", path, data=body and body[1], headers=headers)
                async with request as response:
                    assert response.ok, (command, await response.text())
                    answer = await response.json()
                    token = answer["token"] if "/auth/" in path else token


# --- settings, commands, targets ----------------------------------------------------------------------


def test_the_operations_have_every_setting_with_its_default_and_meaning() -> None:
    expected = [
        [
            f"`{each.name.upper()}`",
            f"`{as_text(each.default)}`" if as_text(each.default) else "",
            each.metadata["about"],
        ]
        for each in fields(Settings)
    ]
    assert table(OPERATIONS, "setting", "default", "what it is") == expected


def test_the_example_of_env_has_every_setting_with_its_default() -> None:
    lines = (ROOT / ".env.example").read_text(encoding="utf-8").splitlines()
    shown = dict(line[1:].split("=", 1) for line in lines if re.match(r"#[A-Z_]+=", line))
    assert shown == {each.name.upper(): as_text(each.default).removesuffix(".0") for each in fields(Settings)}


def test_a_default_that_a_paper_mentions_is_the_default() -> None:
    seconds = {each.name.upper(): float(as_text(each.default)) for each in fields(Settings) if each.name.endswith("_s")}
    mentioned = [
        (name, float(value), paper.name)
        for paper in PAPERS
        for name, value in re.findall(r"`([A-Z_]+_S)` \(([\d.]+) s\)", text_of(paper))
    ]
    assert len(mentioned) > 4
    for name, value, paper in mentioned:
        assert seconds[name] == value, f"{paper}: {name}"


def test_the_upgrade_names_settings_that_there_are_and_none_that_there_are_not() -> None:
    known = {each.name.upper() for each in fields(Settings)}
    rows = table(OPERATIONS, "setting in 1.0.0", "setting in 2.0.0", "value")
    for old, new, _ in rows:
        assert {name.partition("=")[0] for name in names(new)} <= known
        assert "=" in old or not known & set(names(old))
    renamed = {names(old)[0]: names(new) for old, new, _ in rows if "=" not in old}
    assert renamed == {old: re.findall(r"[A-Z][A-Z_]+", new) for old, new in OLD_NAMES.items()}
    for removed, reason in REMOVED_NAMES.items():
        assert f"Remove `{removed}`: {reason}." in " ".join(text_of(OPERATIONS).split())


def test_the_operations_have_every_command() -> None:
    listed = subprocess.run(
        [sys.executable, "-m", "chat", "--help"],
        cwd=ROOT,
        env=os.environ | {"COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    expected = [[f"`chat {name}`", about] for name, about in re.findall(r"^    ([a-z-]+)\s{2,}(.+)$", listed, re.M)]
    assert table(OPERATIONS, "command", "what it does") == expected


def make_targets() -> list[list[str]]:
    """What `make help` lists: the command, and what it does."""
    listed = subprocess.run(
        ["make", "--no-print-directory", "help"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    lines = [re.split(r"\s{2,}", line.strip(), maxsplit=1) for line in listed.splitlines()]
    return [[f"`{command}`", about] for command, about in lines]


def test_the_contributing_page_has_every_make_target() -> None:
    assert table(CONTRIBUTING, "command", "what it does") == make_targets()


def test_the_readme_names_make_targets_that_there_are() -> None:
    commands = {command for command, _ in table(README, "command", "what it does")}
    assert "`make help`" in commands
    assert commands <= {command for command, _ in make_targets()}


# --- the architecture ---------------------------------------------------------------------------------


def test_the_architecture_has_the_packages_in_the_order_of_their_layers() -> None:
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg", encoding="utf-8")
    layers = [
        {name.strip() for name in line.split("|")}
        for line in config["importlinter:contract:layers"]["layers"].strip().splitlines()
    ]
    rows = table(ARCHITECTURE, "packages and modules", "what is in them")
    documented = [name for cell, _ in rows for name in names(cell)]
    assert len(documented) == len(set(documented))
    for layer in layers:
        assert set(documented[: len(layer)]) == layer
        del documented[: len(layer)]
    assert not documented


def test_the_architecture_has_every_table_of_the_database() -> None:
    schema = (ROOT / "sql" / "schema.sql").read_text(encoding="utf-8")
    documented = {names(cell)[0] for cell, _ in table(ARCHITECTURE, "table", "holds")}
    assert documented == set(re.findall(r"^CREATE TABLE (\w+)", schema, re.M))


# --- the papers themselves ----------------------------------------------------------------------------


def test_the_readme_fits_on_one_page() -> None:
    assert len(text_of(README).splitlines()) <= 120


def prose(paper: Path) -> str:
    """A paper without its blocks of code, in which a # begins no heading."""
    return re.sub(r"^```.*?^```", "", text_of(paper), flags=re.M | re.S)


def links(paper: Path) -> list[str]:
    """The targets of links and pictures."""
    return re.findall(r"\]\(([^)\s]+)\)", prose(paper)) + re.findall(r'<img src="([^"]+)"', prose(paper))


def anchors(paper: Path) -> set[str]:
    """The headings of a paper, as links name them."""
    headings = re.findall(r"^#+ (.+)$", prose(paper), re.M)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("paper", PAPERS, ids=relative)
def test_every_link_leads_somewhere(paper: Path) -> None:
    for link in links(paper):
        if link.startswith("https://"):
            continue
        path, _, anchor = link.partition("#")
        target = (paper.parent / path).resolve() if path else paper
        assert target.exists(), link
        assert target.is_relative_to(ROOT), link
        if anchor:
            assert anchor in anchors(target), link


def test_the_readme_links_every_paper() -> None:
    assert {(ROOT / link.partition("#")[0]).resolve() for link in links(README)} >= set(PAPERS) - {README}
    assert len(PAPERS) > 8


@pytest.mark.parametrize("paper", [paper for paper in PAPERS if paper != CHANGELOG], ids=relative)
def test_every_path_that_a_paper_names_exists(paper: Path) -> None:
    folders = "chat|devtools|docs|migrations|postman|sql|tests|tools"
    for path in re.findall(rf"(?<![\w/.…])((?:{folders})/[\w./-]*[\w/])", text_of(paper)):
        assert (ROOT / path).exists(), path


@pytest.mark.parametrize("paper", [paper for paper in PAPERS if paper.parent.parent == ROOT / "tests"], ids=relative)
def test_every_module_that_a_paper_of_tests_names_exists(paper: Path) -> None:
    for name in re.findall(r"`(\w+\.py)`", text_of(paper)):
        assert (paper.parent / name).exists(), name


@pytest.mark.parametrize("paper", [paper for paper in PAPERS if paper not in (CHANGELOG, OPERATIONS)], ids=relative)
def test_every_setting_that_a_paper_names_exists(paper: Path) -> None:
    known = {each.name.upper() for each in fields(Settings)}
    for name in re.findall(r"\b[A-Z][A-Z_]+_(?:S|BYTES|LIMIT|URL|PREFIX|SECRET|EVENTS|ORIGINS)\b", text_of(paper)):
        assert name in known, name


@pytest.mark.parametrize("paper", PAPERS, ids=relative)
def test_no_line_of_prose_is_longer_than_a_line_of_code(paper: Path) -> None:
    for line in text_of(paper).splitlines():
        assert len(line) <= 120 or line.startswith(("|", "<img")), line


def test_the_changelog_begins_with_this_version_or_with_the_next_one() -> None:
    version = re.search(r"^version = (.+)$", (ROOT / "setup.cfg").read_text(encoding="utf-8"), re.M)
    assert version is not None
    titles = re.findall(r"^## (.+)$", text_of(CHANGELOG), re.M)
    coming = re.fullmatch(r"Unreleased \((\d+\.\d+\.\d+)\)", titles[0])
    if coming:
        assert _order(coming[1]) > _order(version[1])
        del titles[0]
    assert titles[0] == version[1]
    assert [_order(title) for title in titles] == sorted(map(_order, titles), reverse=True)


def _order(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


def test_no_module_is_longer_than_three_screens_of_a_large_monitor() -> None:
    for path in modules():
        length = len(path.read_text(encoding="utf-8").splitlines())
        assert length <= 420, f"{path.name} has {length} lines: make it two"
