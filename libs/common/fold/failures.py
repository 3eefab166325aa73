"""Which failures are the record's own, and which say that something we need is away.

*Poison* is an exception of our own code on a record, or PostgreSQL refusing its data (SQLSTATE 22, 23 or 54).
Everything else is unavailability: roll back, pause, try again, dead-letter nothing.
"""

import asyncio
import random

from libs.common.db import UNAVAILABLE, is_data_error
from libs.common.errors import Unavailable
from libs.common.log.positions import FenceLost

_AWAY = (
    *UNAVAILABLE,  # with OSError: TimeoutError, ConnectionError
    EOFError,
    MemoryError,
    asyncio.CancelledError,
    Unavailable,  # Kafka's client errors come as this
    FenceLost,
)


def is_poison(error: BaseException) -> bool:
    """Whether trying again can only fail again, because of the record itself."""
    return is_data_error(error) or not isinstance(error, _AWAY)


class Backoff:
    """Pauses that double from `first` to `longest` seconds, with jitter; `reset` after a success."""

    def __init__(self, first: float = 0.05, longest: float = 5.0) -> None:
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
