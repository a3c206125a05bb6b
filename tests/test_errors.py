"""chat/errors.py: one family, and the table of close codes."""

import re

import pytest

from chat import errors
from chat.errors import BadRequest, ChatError, OutcomeUnknown, Unauthorized, Unavailable
from chat.protocol.close_codes import CloseCode


def family() -> list[type[ChatError]]:
    return [ChatError, *(each for each in vars(errors).values() if isinstance(each, type) and each is not ChatError)]


def test_each_error_has_a_code_and_a_status_of_its_own() -> None:
    known = [each for each in family() if issubclass(each, ChatError)]
    assert len({each.code for each in known}) == len({each.status for each in known}) == len(known)
    for each in known:
        error = each("what to do")
        assert (error.text, str(error), error.code) == ("what to do", "what to do", each.code)
        assert 400 <= error.status < 600
        assert re.fullmatch("[a-z_]+", error.code)


def test_an_error_may_have_a_finer_code() -> None:
    assert BadRequest("x", code="unknown_command").code == "unknown_command"
    assert BadRequest.code == "bad_request"


def test_an_error_may_have_a_finer_status() -> None:
    error = BadRequest("x", status=411)
    assert (error.code, error.status) == ("bad_request", 411)
    assert BadRequest("x").status == 400


def test_who_has_no_token_is_told_which_kind_is_wanted() -> None:
    assert Unauthorized("x").headers == {"WWW-Authenticate": 'Bearer realm="chat"'}


@pytest.mark.parametrize(("retry_ms", "seconds"), [(1, "1"), (1000, "1"), (2600, "3")])
def test_when_to_come_back_is_also_a_header(retry_ms: int, seconds: str) -> None:
    for error in (Unavailable("x", retry_ms=retry_ms), OutcomeUnknown("x", retry_ms=retry_ms)):
        assert error.retry_ms == retry_ms
        assert error.headers == {"Retry-After": seconds}
    assert ChatError("x").headers == {}


def test_headers_of_one_error_are_not_those_of_another() -> None:
    given = {"Allow": "GET"}
    BadRequest("x", headers=given, retry_ms=1)
    assert given == {"Allow": "GET"}


def test_the_table_of_close_codes_has_every_one() -> None:
    assert CloseCode.__doc__ is not None
    listed = {int(code) for code in re.findall(r"^\s*(\d{4})  ", CloseCode.__doc__, re.MULTILINE)}
    assert listed == set(CloseCode)
