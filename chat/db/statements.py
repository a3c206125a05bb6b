"""The files of sql/ as text and as prepared statements."""

import re
from functools import cache
from pathlib import Path
from typing import Any


def data_folder(name: str) -> Path:
    """A folder that lies beside chat/ in a checkout and within it where the package is installed."""
    installed = Path(__file__).parents[1] / name
    return installed if installed.is_dir() else Path(__file__).parents[2] / name


SQL = data_folder("sql")
PREPARABLE = ("SELECT", "WITH", "INSERT", "UPDATE", "DELETE")

_PARAM = re.compile(r"%\((\w+)\)s")


@cache
def statement(name: str) -> str:
    """The text of sql/<name>.sql without its comment lines, which the server need not read each time."""
    lines = (SQL / f"{name}.sql").read_text(encoding="utf-8").splitlines()
    return "\n".join(line for line in lines if not line.lstrip().startswith("--"))


@cache
def prepare_sql(name: str) -> tuple[dict[str, str], str]:
    """Return ({name: PREPARE statement}, EXECUTE statements) for a SQL file.

    Planning costs more than execution here, and psycopg2 does not prepare statements. A file with anything that cannot
    be prepared is returned as it is, with nothing to prepare.
    """
    texts = [text.strip() for text in statement(name).split(";") if text.strip()]
    if not all(text.startswith(PREPARABLE) for text in texts):
        return {}, statement(name)
    prepares, executes = {}, []
    for number, text in enumerate(texts, 1):
        params = list(dict.fromkeys(_PARAM.findall(text)))
        for place, param in enumerate(params, 1):
            text = text.replace(f"%({param})s", f"${place}")
        arguments = ", ".join(f"%({param})s" for param in params)
        prepares[f"{name} {number}"] = f'PREPARE "{name} {number}" AS {text.replace("%%", "%")}'
        executes.append(f'EXECUTE "{name} {number}"' + (f" ({arguments})" if arguments else ""))
    return prepares, "; ".join(executes)


def bind_params(params: dict[str, Any]) -> dict[str, Any]:
    """The parameters with lists of whole numbers (and None) in PostgreSQL's own text form of an array.

    psycopg2 would adapt element by element and PostgreSQL parse each as an expression: with 8 numbers 19 µs and 20 µs
    more than this.
    """
    return {name: _array_text(value) if type(value) is list else value for name, value in params.items()}


def _array_text(values: list[Any]) -> Any:
    if all(type(value) is int or value is None for value in values):
        return "{" + ",".join(["NULL" if value is None else str(value) for value in values]) + "}"
    return values
