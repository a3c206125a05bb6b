"""chat/realtime/rate_limit.py: pure, so plain asserts."""

import pytest

from chat.realtime.rate_limit import TokenBucket


def test_a_burst_passes_and_then_the_rate() -> None:
    bucket = TokenBucket(2.0, 10, now=0.0)
    assert [bucket.take(0.0) for _ in range(10)] == [0.0] * 10
    assert bucket.take(0.0) == 0.5
    assert bucket.take(0.25) == 0.25
    assert bucket.take(0.5) == 0.0
    assert bucket.take(0.5) > 0


def test_a_client_that_waits_as_long_as_it_has_to_passes() -> None:
    bucket, now = TokenBucket(20.0, 100, now=0.0), 0.0
    for _ in range(1000):
        wait = bucket.take(now)
        if wait:
            now += wait
            assert bucket.take(now) == 0.0


def test_an_idle_hour_gives_one_burst_and_no_more() -> None:
    bucket = TokenBucket(1.0, 5, now=0.0)
    for _ in range(20):
        bucket.take(0.0)
    assert [bucket.take(3600.0) for _ in range(6)][4:] == [0.0, 1.0]
    assert bucket.refused == 1


@pytest.mark.parametrize("sent_per_s", [30, 60, 200, 2000])
def test_a_client_that_stays_above_the_rate_is_refused_more_and_more(sent_per_s: int) -> None:
    """Each frame that passes in between forgives nothing."""
    bucket = TokenBucket(20.0, 100, now=0.0)
    for number in range(sent_per_s * 60):
        bucket.take(number / sent_per_s)
    assert bucket.refused > 500


def test_a_rate_of_zero_is_not_limited() -> None:
    bucket = TokenBucket(0.0, 0, now=0.0)
    assert {bucket.take(0.0) for _ in range(1000)} == {0.0}
