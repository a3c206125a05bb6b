"""Find patterns of language that the project does not use: `python -m devtools.language [PATH ...]`.

Without a path it reads `CHECKED`, as `make check` does. A pronoun alone in quotes is mentioned, not used, and passes.
"""

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent
SUFFIXES = {".css", ".html", ".js", ".md", ".py", ".sql"}
CHECKED = ("CHANGELOG.md", "CONTRIBUTING.md", "README.md", "chat", "devtools", "docs", "migrations", "sql", "tests")


class Pattern(NamedTuple):
    """A pattern of language.

    regex: found in a line that breaks the rule
    suffixes: of the files in which it counts
    hint: what to write instead
    """

    regex: re.Pattern[str]
    suffixes: set[str]
    hint: str


class Finding(NamedTuple):
    """A line that breaks a rule."""

    path: Path
    line_number: int
    line: str
    hint: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line_number}: {self.hint}: {self.line.strip()}"


PRONOUN = f"\\b(?:{'|'.join(('he', 'she', 'him', 'his', 'her', 'hers', 'himself', 'herself'))})\\b"
QUOTE = "[\"'`]"
PATTERNS = (
    Pattern(
        re.compile(f"(?<!{QUOTE}){PRONOUN}|{PRONOUN}(?!{QUOTE})", re.IGNORECASE),
        SUFFIXES,
        'write "the user" or "they"',
    ),
    Pattern(
        # At the beginning of a line, as in a docstring, or of a comment. Three dots alone are Python's Ellipsis.
        re.compile(r'^\s*(?:#|--|//|/?\*+|<!--|""")?\s*(?:…|\.\.\.\s*\w)|\s(?:#|--|//)\s+(?:…|\.\.\.)'),
        SUFFIXES - {".md"},
        "write a sentence that can be read without the line above",
    ),
)


def main(argv: list[str] | None = None) -> None:
    """Print each finding with its file and line. Exit with status 1 if there is one."""
    paths = sys.argv[1:] if argv is None else argv
    findings = [finding for path in paths or CHECKED for finding in check(ROOT / path)]
    for finding in findings:
        print(finding)
    sys.exit(1 if findings else 0)


def check(path: Path) -> Iterator[Finding]:
    """The findings in a file, or in all files of a folder. Raises `FileNotFoundError` if there is no such path."""
    if path.is_dir():
        for child in sorted(path.rglob("*")):
            if child.suffix in SUFFIXES:
                yield from check(child)
        return
    shown = path.relative_to(ROOT) if path.is_relative_to(ROOT) else path
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        for pattern in PATTERNS:
            if path.suffix in pattern.suffixes and pattern.regex.search(line):
                yield Finding(shown, number, line, pattern.hint)


if __name__ == "__main__":
    main()
