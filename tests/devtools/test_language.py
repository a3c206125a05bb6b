"""devtools/language.py: each forbidden pattern is found, and nothing else is."""

from pathlib import Path

import pytest

from devtools import language

# Samples are put together here, because this file is checked, too.
SUBJECT, OWNER, DOTS = "h" + "e", "h" + "is", "\N{HORIZONTAL ELLIPSIS}"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(language, "ROOT", tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("a.py", f"# the user has {OWNER} answer by then"),
        ("a.py", f'"""{SUBJECT.title()} is gone."""'),
        ("a.sql", f"-- rooms that {SUBJECT} has left"),
        ("a.md", f"A user reads what {SUBJECT} has missed."),
        ("a.js", f"text = '{SUBJECT} is online';"),
        ("a.html", f"<p>{OWNER} messages</p>"),
        ("a.py", f"LIMIT = 3  # {DOTS} and for all of them"),
        ("a.py", f"# {DOTS} and for all of them"),
        ("a.py", "#... and for all of them"),
        ("a.py", f'    """{DOTS} until it fails."""'),
        ("a.py", f"    {DOTS} and with all of them"),
        ("a.sql", f"-- {DOTS} or one too far"),
        ("a.js", f"call(); // {DOTS} or not"),
        ("a.css", f"/* {DOTS} or not */"),
        ("a.html", f"<!-- {DOTS} or not -->"),
    ],
)
def test_a_forbidden_pattern_is_found_with_its_line_and_a_hint(
    folder: Path, capsys: pytest.CaptureFixture[str], name: str, line: str
) -> None:
    (folder / "package").mkdir()
    (folder / "package" / name).write_text(f"good\n{line}\n", encoding="utf-8")
    with pytest.raises(SystemExit) as end:
        language.main(["package"])
    assert end.value.code == 1
    assert capsys.readouterr().out.startswith(f"package/{name}:2: write ")


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("a.py", "# the user has their answer by then; the theme is here"),
        ("a.py", f'# never "{SUBJECT}"'),
        ("a.py", "    ..."),
        ("a.py", "    ...  # a protocol"),
        ("a.py", f"url = 'postgresql://{DOTS}'"),
        ("a.md", f"{DOTS}/events is the address"),
        ("a.txt", f"{SUBJECT} and {OWNER}"),
    ],
)
def test_other_lines_pass(folder: Path, name: str, line: str) -> None:
    (folder / name).write_text(f"{line}\n", encoding="utf-8")
    with pytest.raises(SystemExit) as end:
        language.main([name])
    assert end.value.code == 0


def test_a_path_that_does_not_exist_is_an_error(folder: Path) -> None:
    with pytest.raises(FileNotFoundError):
        language.main(["nothing.py"])


def test_the_checked_files_have_none() -> None:
    assert [str(finding) for path in language.CHECKED for finding in language.check(language.ROOT / path)] == []
