"""A token bucket that also counts refusals. Pure."""

ROUNDING = 1e-6  # tolerance for float rounding: a client that waits exactly the returned time must be let through


class TokenBucket:
    """`rate_per_s` tokens a second, `capacity` at once; a rate of 0 is no limit. `now` is a monotonic time in seconds.

    refused: how often no token was left since the bucket was last full
    """

    __slots__ = ("_capacity", "_last", "_rate_per_s", "_tokens", "refused")

    def __init__(self, rate_per_s: float, capacity: float, now: float) -> None:
        self._rate_per_s, self._capacity, self._tokens, self._last = rate_per_s, capacity, capacity, now
        self.refused = 0

    def take(self, now: float) -> float:
        """Take a token. Return 0.0 if there was one, else the seconds until the next."""
        if not self._rate_per_s:
            return 0.0
        self._tokens = min(self._capacity, self._tokens + (now - self._last) * self._rate_per_s)
        self._last = now
        if self._tokens >= self._capacity:
            self.refused = 0
        if self._tokens > 1 - ROUNDING:
            self._tokens -= 1
            return 0.0
        self.refused += 1
        return (1 - self._tokens) / self._rate_per_s
