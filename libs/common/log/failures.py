"""Which failures are the record's own, and which say that something we need is away.

*Poison* is an exception of our own code on a record, or PostgreSQL refusing its data (SQLSTATE 22, 23 or 54).
Everything else is unavailability: roll back, pause, try again, dead-letter nothing.
"""

import asyncio

from libs.common.db.errors import UNAVAILABLE, is_data_error
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
