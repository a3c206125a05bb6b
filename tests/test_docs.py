"""The papers say what is so: README.md, .env.example, CHANGELOG.md, the code's errors and frames."""

import ast
import re
import subprocess
from dataclasses import fields

import msgspec

from chat.config import Settings
from chat.http.routes import ROUTES
from chat.protocol import frames
from chat.protocol.close_codes import CloseCode
from tests.actors import ROOT, as_text
from tests.sources import modules

README = (ROOT / "README.md").read_text(encoding="utf-8")


def rows_after(heading: str) -> list[list[str]]:
    """The cells of the first table after a heading, without its head."""
    lines = README.split(f"\n{heading}\n")[1].split("\n|", 1)[1].split("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines if line.startswith("|")]


def test_the_readme_has_every_setting_with_its_default_and_meaning() -> None:
    expected = [
        [
            f"`{each.name.upper()}`",
            f"`{as_text(each.default)}`" if as_text(each.default) else "",
            each.metadata["about"],
        ]
        for each in fields(Settings)
    ]
    assert rows_after("## Settings") == [[cell.replace("\n", " ") for cell in row] for row in expected]


def test_the_example_of_env_has_every_setting_with_its_default() -> None:
    lines = (ROOT / ".env.example").read_text(encoding="utf-8").splitlines()
    shown = dict(line[1:].split("=", 1) for line in lines if re.match(r"#[A-Z_]+=", line))
    expected = {each.name.upper(): as_text(each.default).removesuffix(".0") for each in fields(Settings)}
    assert shown == expected


def test_the_readme_has_every_address() -> None:
    told = {
        (method.strip(), address.strip("`"))
        for address, methods, *_ in rows_after("## Addresses")
        for method in methods.split(",")
    }
    served = {(route.method, re.sub(r"\{room_id:[^/]*\}", ":id", route.path)) for route in ROUTES}
    served.discard(("GET", "/web/{name}"))
    assert told == served
    assert "/web/:name" in README


def test_the_readme_has_every_frame_with_its_fields() -> None:
    told: dict[int, str] = {}
    for number, _, _, names in rows_after("## Frames"):
        told[int(number)] = told.get(int(number), "") + names
    structs = [
        each
        for each in vars(frames).values()
        if isinstance(each, type) and issubclass(each, msgspec.Struct) and each.__struct_config__.tag is not None
    ]
    assert len(structs) > 9
    for struct in structs:
        tag = int(str(struct.__struct_config__.tag))
        assert tag in told, f"type {tag} is not in the README"
        for name in msgspec.structs.fields(struct):
            assert f"`{name.encode_name}`" in told[tag], f"type {tag}: {name.encode_name}"
    assert set(told) == {struct.__struct_config__.tag for struct in structs}


def test_the_readme_has_every_make_target() -> None:
    listed = subprocess.run(
        ["make", "--no-print-directory", "help"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    expected = [re.split(r"\s{2,}", line.strip().removeprefix("make "), maxsplit=1) for line in listed.splitlines()]
    told = [[command.strip("`").removeprefix("make "), about] for command, about in rows_after("## Develop")]
    assert told == [[name, about] for name, about in expected]


def test_the_readme_has_every_error_code_and_no_other() -> None:
    codes: set[object] = set()
    for path in modules():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.keyword) and node.arg == "code" and isinstance(node.value, ast.Constant):
                codes.add(node.value.value)
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name | ast.Tuple):
                target = node.targets[0]
                first = target.elts[0] if isinstance(target, ast.Tuple) else target
                value = node.value.elts[0] if isinstance(node.value, ast.Tuple) else node.value
                if isinstance(first, ast.Name) and first.id == "code" and isinstance(value, ast.Constant):
                    codes.add(value.value)
    codes -= {"conflict"}  # never raised without a code of its own
    told = README.split("*Codes* of errors:")[1].split(".\n\n")[0]
    assert set(re.findall(r"`(\w+)`", told)) == codes | {"username_taken", "email_taken"}


def test_the_readme_has_every_close_code() -> None:
    told = README.split("*CloseCode codes*:")[1].split("\n\n")[0]
    for code in CloseCode:
        if code not in (CloseCode.GOING_AWAY, CloseCode.TOO_SLOW):
            assert str(int(code)) in told


def test_the_readme_says_that_addresses_are_shown() -> None:
    assert "e-mail address, and everybody who is signed in can read it" in README


def test_the_changelog_begins_with_this_version() -> None:
    version = re.search(r"^version = (.+)$", (ROOT / "setup.cfg").read_text(encoding="utf-8"), re.M)
    assert version is not None
    assert f"\n## {version[1]}\n" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_no_file_is_longer_than_a_reader_s_patience() -> None:
    """A module fits on a few screens; one that does not wants to be two."""
    for path in modules():
        length = len(path.read_text(encoding="utf-8").splitlines())
        assert length <= 420, f"{path.name} has {length} lines"
