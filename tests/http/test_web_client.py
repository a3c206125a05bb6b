"""The web client's constants are those of the server, and its modules use no number without a name."""

import enum
import inspect
import json
import re

import msgspec
import pytest

from chat.http.static_files import FILES
from chat.protocol import close_codes, frames

MODULES = {name: path.read_text(encoding="utf-8") for name, path in FILES.items() if path.suffix == ".js"}
ABNORMAL_CLOSURE = 1006  # RFC 6455, 7.4.1: only the peer that lost the connection sees it, no server sends it

# `frame.type === 5`, `5 === type`, `type: 5`, `case 5:`, `action === "left"`, `code === 4001`
UNNAMED = r"""(?x)
    \b(type|kind|action|code) \s* (?: [!=]==? | [<>]=? | :) \s* (\d | "(joined|left|created)")
    | \b\d+ \s* (?: [!=]==? | [<>]=?) \s* [\w.]* \b(type|kind|code)\b
    | \bcase \s+ \d
    | \b(1006|1008|1012|4001|4008)\b
"""


def constants(name: str) -> dict[str, int | str]:
    """One of the objects of protocol.js."""
    found = re.search(rf"export const {name} = Object\.freeze\((\{{.*?\}})\);", MODULES["protocol.js"], re.DOTALL)
    assert found, name
    as_json = re.sub(r"(\w+):", r'"\1":', re.sub(r",\s*\}", "}", found[1]))
    values: dict[str, int | str] = json.loads(as_json)
    return values


def tags(*, of: object) -> set[object]:
    """The `type` numbers of the structs in a module."""
    structs = [each for _, each in inspect.getmembers(of, inspect.isclass) if issubclass(each, msgspec.Struct)]
    return {each.__struct_config__.tag for each in structs if each.__struct_config__.tag is not None}


def test_the_frame_types_are_those_of_the_structs() -> None:
    frame = constants("FRAME")
    assert set(frame.values()) == tags(of=frames)
    structs = {
        "MESSAGE": frames.MessageFrame,
        "MEMBER": frames.MemberFrame,
        "ROOM": frames.RoomFrame,
        "HELLO": frames.HelloFrame,
        "RESUME": frames.Resume,
        "ACK": frames.Ack,
        "ERROR": frames.ErrorFrame,
    }
    assert frame.keys() - structs.keys() == {"READ_MARKER"}
    for name, struct in structs.items():
        assert frame[name] == struct.__struct_config__.tag, name


def test_the_close_codes_are_those_of_the_server() -> None:
    [server] = [
        each
        for _, each in inspect.getmembers(close_codes, inspect.isclass)
        if issubclass(each, enum.IntEnum) and each.__module__ == close_codes.__name__
    ]
    client = constants("CLOSE")
    assert client.pop("ABNORMAL") == ABNORMAL_CLOSURE
    assert client
    assert set(client.values()) <= {int(code) for code in server}


def test_no_number_of_the_protocol_stands_without_its_name() -> None:
    assert len(MODULES) > 15
    for name, text in MODULES.items():
        if name != "protocol.js":
            found = re.search(UNNAMED, text)
            assert not found, f"{name}: {found[0]}"


def test_every_name_of_the_protocol_that_a_module_uses_is_defined() -> None:
    """A misspelt one would be `undefined`, and equal nothing, without an error."""
    used = {each for text in MODULES.values() for each in re.findall(r"\b(FRAME|ACTION|CLOSE)\.(\w+)", text)}
    assert used
    for group, name in used:
        assert name in constants(group), f"{group}.{name}"


@pytest.mark.parametrize(
    "line",
    [
        "if (frame.type === 14) refused(frame);",
        "frame.type !== 1",
        "5 === frame.type",
        "send({ type: 11, chatroomId })",
        "switch (type) { case 13: }",
        'frame.action === "left"',
        "if (code === 4001) end();",
        "closed(1006)",
    ],
)
def test_a_number_without_a_name_is_found(line: str) -> None:
    assert re.search(UNNAMED, line)
