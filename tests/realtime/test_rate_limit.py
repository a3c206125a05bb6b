"""chat/realtime/rate_limit.py: pure, so plain asserts."""

import pytest

from chat.realtime.rate_limit import Pace


def test_a_burst_passes_and_then_the_rate() -> None:
    pace = Pace(2.0, 10, now=0.0)
    assert [pace.wait_s(0.0) for _ in range(10)] == [0.0] * 10
    assert pace.wait_s(0.0) == 0.5
    assert pace.wait_s(0.25) == 0.25
    assert pace.wait_s(0.5) == 0.0
    assert pace.wait_s(0.5) > 0


def test_who_waits_as_told_passes() -> None:
    pace, now = Pace(20.0, 100, now=0.0), 0.0
    for _ in range(1000):
        wait = pace.wait_s(now)
        if wait:
            now += wait
            assert pace.wait_s(now) == 0.0


def test_an_hour_of_silence_gives_one_burst_and_no_more() -> None:
    pace = Pace(1.0, 5, now=0.0)
    for _ in range(20):
        pace.wait_s(0.0)
    assert [pace.wait_s(3600.0) for _ in range(6)][4:] == [0.0, 1.0]
    assert pace.refused == 1


@pytest.mark.parametrize("sent_per_s", [30, 60, 200, 2000])
def test_who_goes_on_above_the_rate_is_refused_ever_more_often(sent_per_s: int) -> None:
    """Each frame that passes in between forgives nothing."""
    pace = Pace(20.0, 100, now=0.0)
    for number in range(sent_per_s * 60):
        pace.wait_s(number / sent_per_s)
    assert pace.refused > 500


def test_zero_is_no_limit() -> None:
    pace = Pace(0.0, 0, now=0.0)
    assert {pace.wait_s(0.0) for _ in range(1000)} == {0.0}
