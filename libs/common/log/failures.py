"""Tells apart failures caused by a record and failures because something is unavailable.

A record is *poison* if our own code raises an exception on it, or if PostgreSQL refuses its data (SQLSTATE class 22, 23
or 54). Everything else is unavailability: roll back, pause, try again, dead-letter nothing.
"""

import asyncio

from libs.common.db.errors import UNAVAILABLE, is_data_error
from libs.common.errors import Unavailable
from libs.common.log.positions import FenceLost

_UNAVAILABLE = (
    *UNAVAILABLE,  # with OSError: TimeoutError, ConnectionError
    EOFError,
    MemoryError,
    asyncio.CancelledError,
    Unavailable,  # wraps the errors of Kafka's client
    FenceLost,
)


def is_poison(error: BaseException) -> bool:
    """Whether the record itself is the cause, so that every retry must fail too."""
    return is_data_error(error) or not isinstance(error, _UNAVAILABLE)
