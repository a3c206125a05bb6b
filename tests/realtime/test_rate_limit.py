"""chat/realtime/rate_limit.py: pure, so plain asserts."""

import pytest

from chat.realtime.rate_limit import TokenBucket


def test_a_burst_passes_and_then_the_rate() -> None:
    pace = TokenBucket(2.0, 10, now=0.0)
    assert [pace.take(0.0) for _ in range(10)] == [0.0] * 10
    assert pace.take(0.0) == 0.5
    assert pace.take(0.25) == 0.25
    assert pace.take(0.5) == 0.0
    assert pace.take(0.5) > 0


def test_who_waits_as_told_passes() -> None:
    pace, now = TokenBucket(20.0, 100, now=0.0), 0.0
    for _ in range(1000):
        wait = pace.take(now)
        if wait:
            now += wait
            assert pace.take(now) == 0.0


def test_an_hour_of_silence_gives_one_burst_and_no_more() -> None:
    pace = TokenBucket(1.0, 5, now=0.0)
    for _ in range(20):
        pace.take(0.0)
    assert [pace.take(3600.0) for _ in range(6)][4:] == [0.0, 1.0]
    assert pace.refused == 1


@pytest.mark.parametrize("sent_per_s", [30, 60, 200, 2000])
def test_who_goes_on_above_the_rate_is_refused_ever_more_often(sent_per_s: int) -> None:
    """Each frame that passes in between forgives nothing."""
    pace = TokenBucket(20.0, 100, now=0.0)
    for number in range(sent_per_s * 60):
        pace.take(number / sent_per_s)
    assert pace.refused > 500


def test_zero_is_no_limit() -> None:
    pace = TokenBucket(0.0, 0, now=0.0)
    assert {pace.take(0.0) for _ in range(1000)} == {0.0}
