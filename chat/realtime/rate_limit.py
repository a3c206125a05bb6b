"""How fast one may go: a token bucket, and an end of patience with who does not heed it. Pure."""

ROUNDING = 1e-6  # who waits exactly as long as he was told finds a hair less than a whole one


class Pace:
    """`rate` a second, `burst` at once; 0 is no limit. `now` is a monotonic time in seconds."""

    __slots__ = ("_burst", "_last", "_left", "_rate", "refused")

    def __init__(self, rate: float, burst: float, now: float) -> None:
        self._rate, self._burst, self._left, self._last = rate, burst, burst, now
        self.refused = 0  # since there was last a whole burst left: who heeds the pace gets back to that

    def wait_s(self, now: float) -> float:
        """Counts one more: 0.0, it may pass; else it may not, and the next one may in so many seconds."""
        if not self._rate:
            return 0.0
        self._left = min(self._burst, self._left + (now - self._last) * self._rate)
        self._last = now
        if self._left >= self._burst:
            self.refused = 0
        if self._left > 1 - ROUNDING:
            self._left -= 1
            return 0.0
        self.refused += 1
        return (1 - self._left) / self._rate
