"""The files of sql/ as text and as prepared statements."""

import re
from functools import cache
from pathlib import Path


def data_folder(name: str) -> Path:
    """A folder that lies beside chat/ in a checkout and within it where the package is installed."""
    installed = Path(__file__).parents[1] / name
    return installed if installed.is_dir() else Path(__file__).parents[2] / name


SQL = data_folder("sql")


@cache
def statement(name: str) -> str:
    """The text of sql/<name>.sql without its comment lines, which the server need not read each time."""
    lines = (SQL / f"{name}.sql").read_text(encoding="utf-8").splitlines()
    return "\n".join(line for line in lines if not line.lstrip().startswith("--"))


@cache
def prepared(name: str) -> tuple[dict[str, str], str]:
    """How a connection learns the statements of a file, each by its name, and what then runs them.

    To plan them takes longer than to run them, so each connection does it rarely; the driver has nothing for it.
    That is at the first use, and when there were twice as many: a plan for the empty tables of the first day would
    read all of a table that has grown.
    """
    texts = [text.strip() for text in statement(name).split(";") if text.strip()]
    if not all(text.startswith(_PLANNED) for text in texts):
        return {}, statement(name)
    lessons, calls = {}, []
    for number, text in enumerate(texts, 1):
        params = list(dict.fromkeys(_PARAM.findall(text)))
        for place, param in enumerate(params, 1):
            text = text.replace(f"%({param})s", f"${place}")
        given = ", ".join(f"%({param})s" for param in params)
        lessons[f"{name} {number}"] = f'PREPARE "{name} {number}" AS {text.replace("%%", "%")}'
        calls.append(f'EXECUTE "{name} {number}"' + (f" ({given})" if given else ""))
    return lessons, "; ".join(calls)


_PLANNED = ("SELECT", "WITH", "INSERT", "UPDATE", "DELETE")
_PARAM = re.compile(r"%\((\w+)\)s")
