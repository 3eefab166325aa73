"""Pauses between retries."""

import random


class Backoff:
    """Pauses that double from `first` to `longest` seconds, with jitter. Call `reset` after a success."""

    def __init__(self, first: float = 0.05, longest: float = 2.0) -> None:
        self._first = first
        self._longest = longest
        self._next = first

    def pause(self) -> float:
        """Seconds to wait now."""
        pause = self._next * random.uniform(0.5, 1.0)  # noqa: S311 (jitter, not a secret)
        self._next = min(self._next * 2, self._longest)
        return pause

    def reset(self) -> None:
        self._next = self._first
