"""chat/bots/stock_quotes.py: pure, so plain asserts."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chat.bots import stock_quotes
from chat.errors import BadRequest

HEADER = b"Symbol,Date,Time,Open,High,Low,Close,Volume\r\n"


@pytest.mark.parametrize("line", ["/stock=aapl.us", "/stock= AAPL.US ", "/stock=aApL.uS"])
def test_a_code_is_read_from_its_line(line: str) -> None:
    assert stock_quotes.code_of(line) == "AAPL.US"


@pytest.mark.parametrize("code", ["^SPX", "BRK-B.US", "9984.JP", "A" * 20])
def test_codes_may_have_these_signs(code: str) -> None:
    assert stock_quotes.code_of(f"/stock={code}") == code


@pytest.mark.parametrize("code", ["", "A" * 21, "a b", "a/b", "a&f=1", "../x", "é", "a\x00", "٣", "%41", "{x}"])
def test_other_codes_are_refused(code: str) -> None:
    with pytest.raises(BadRequest):
        stock_quotes.code_of(f"/stock={code}")


def test_the_code_is_quoted_in_the_address() -> None:
    template = "https://stocks.example/q?s={code}&f=x"
    assert stock_quotes.address(template, "AAPL.US") == "https://stocks.example/q?s=aapl.us&f=x"
    assert stock_quotes.address(template, "^SPX") == "https://stocks.example/q?s=%5Espx&f=x"


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (b"AAPL.US,2026-11-20,22:00:09,93,94.5,92.1,93.42,75486300\r\n", "AAPL.US quote is $93.42 per share"),
        (b"AAPL.US,2026-11-20,22:00:09,93,94.5,92.1,0.000012,1\n", "AAPL.US quote is $0.000012 per share"),
        (b"aapl.us,2026-11-20,22:00:09,1,1,1,100,1", "AAPL.US quote is $100 per share"),
        (b"AAPL.US,N/D,N/D,N/D,N/D,N/D,N/D,N/D\r\n", "AAPL.US quote is not available"),
    ],
)
def test_a_row_becomes_a_sentence(row: bytes, said: str) -> None:
    assert stock_quotes.sentence("AAPL.US", HEADER + row) == said


@pytest.mark.parametrize(
    "body",
    [
        b"",
        HEADER,
        HEADER + b"AAPL.US,2026-11-20,22:0",
        b"<html><body>Exceeded the daily hits limit</body></html>",
        HEADER + b"AAPL.US,2026-11-20,22:00:09,1,2,3,lots,5",
        HEADER + b"AAPL.US,2026-11-20,22:00:09,1,2,3,NaN,5",
        HEADER + b"AAPL.US,2026-11-20,22:00:09,1,2,3,-1,5",
        HEADER + b"MSFT.US,2026-11-20,22:00:09,1,2,3,4,5",
        HEADER + b'"AAPL.US,2026',
        b"\xff\xfe",
        b"\x00" * 100,
    ],
)
def test_nonsense_is_told_as_such(body: bytes) -> None:
    with pytest.raises(stock_quotes.BadCsv):
        stock_quotes.sentence("AAPL.US", body)


@given(st.binary(max_size=300))
def test_no_answer_of_the_service_breaks_the_bot(body: bytes) -> None:
    for whole in (body, HEADER + body):
        with contextlib.suppress(stock_quotes.BadCsv):
            assert stock_quotes.sentence("AAPL.US", whole).startswith("AAPL.US quote is ")
