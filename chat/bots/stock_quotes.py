"""What the stock robot knows: its command, the CSV of the quotes, and its sentences. Pure.

The CSV has the form of stooq.com's: a header `Symbol,Date,Time,Open,High,Low,CloseCode,Volume`, one row, and `N/D`
for what is not known.
"""

import csv
import io
import re
from decimal import Decimal, InvalidOperation
from urllib.parse import quote

from chat.errors import BadRequest
from chat.protocol.bot_queues import STOCK

CSV_BYTES = 64 * 1024  # an honest answer has about 100

BAD_CODE = "That is no stock code: letters, digits, '.', '-' and '^', at most 20, as in /stock=AAPL.US"

_CODE = re.compile(r"[A-Za-z0-9.^-]{1,20}", re.ASCII)


class BadCsv(Exception):
    """The service talks nonsense."""


def code_of(line: str) -> str:
    """The stock code of a line `/stock=CODE`, in capitals. Raises `BadRequest`, whose text is for the room."""
    code = line.partition("=")[2].strip()
    if not line.startswith(f"/{STOCK}=") or not _CODE.fullmatch(code):
        raise BadRequest(BAD_CODE)
    return code.upper()


def address(template: str, code: str) -> str:
    """Where the quote of a code is: the template with {code} replaced."""
    return template.replace("{code}", quote(code.lower(), safe=""))


def sentence(code: str, body: bytes) -> str:
    """What the robot says to the service's answer. Raises `BadCsv`."""
    close = _close(code, body)
    if close is None:
        return f"{code} quote is not available"
    return f"{code} quote is ${close} per share"


def _close(code: str, body: bytes) -> Decimal | None:
    """The closing price, two decimals at least as the service gives them; None if it is not known."""
    try:
        rows = list(csv.DictReader(io.StringIO(body.decode("utf-8")), strict=True))
    except (UnicodeDecodeError, csv.Error) as error:
        raise BadCsv(str(error)) from None
    if not rows or rows[0].get("Symbol") is None or rows[0].get("CloseCode") is None:
        raise BadCsv("no row with Symbol and CloseCode")
    if rows[0]["Symbol"].upper() != code:
        raise BadCsv("the row of another symbol")
    if rows[0]["CloseCode"] == "N/D":
        return None
    try:
        price = Decimal(rows[0]["CloseCode"])
    except InvalidOperation:
        raise BadCsv("the price is no number") from None
    if not price.is_finite() or price < 0:
        raise BadCsv("the price is no price")
    return price
