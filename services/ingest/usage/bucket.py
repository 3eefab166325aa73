"""A token bucket, in which a large batch may run into debt. Pure: the time is an argument."""

import math

BURST = 10  # seconds' worth of events that may come at once after a pause


class Bucket:
    """Lets `rate` events a second pass, over time.

    A batch passes whole while anything is left, however large it is, and what it takes too much is paid back before the next
    one passes: a client cannot cut a batch that its SDK has made.
    """

    __slots__ = ("_at", "_rate", "_tokens")

    def __init__(self, rate: int, now: float) -> None:
        self._rate = rate
        self._tokens = float(rate * BURST)
        self._at = now

    @property
    def rate(self) -> int:
        """Events a second."""
        return self._rate

    def take(self, events: int, now: float) -> int:
        """0 when the events may pass, else the seconds after which they may."""
        self._tokens = min(self._tokens + (now - self._at) * self._rate, float(self._rate * BURST))
        self._at = now
        if self._tokens <= 0:
            return max(math.ceil((1 - self._tokens) / self._rate), 1)
        self._tokens -= events
        return 0
