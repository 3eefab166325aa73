"""Why work pauses: the cause as a label for metrics, and as a phrase for people."""

import asyncpg

from libs.common.errors import Unavailable
from libs.common.log.positions import FenceLost

#: The cause for each SQLSTATE or SQLSTATE class; the longer match wins.
_BY_SQLSTATE = {
    "53100": "disk_full",
    "53200": "out_of_memory",
    "53300": "too_many_connections",
    "53": "database_limits",
    "57014": "timeout",
    "25P04": "timeout",
    "25P03": "timeout",
    "55P03": "lock_timeout",
    "40": "conflict",
    "08": "postgres_away",
    "57": "postgres_away",
}

REASONS = {
    "disk_full": "the disk of PostgreSQL is full",
    "out_of_memory": "PostgreSQL is out of memory",
    "too_many_connections": "PostgreSQL has no connection left",
    "database_limits": "PostgreSQL is at one of its limits",
    "timeout": "PostgreSQL does not answer in time",
    "lock_timeout": "another transaction holds a lock for long",
    "conflict": "two transactions conflicted",
    "postgres_away": "PostgreSQL cannot be reached",
    "kafka_away": "Kafka cannot be reached",
    "taken_over": "another process has taken over the partition",
    "other": "something that is needed is unavailable",
}


def cause(error: BaseException) -> str:
    """The cause of a pause: a key of REASONS."""
    if isinstance(error, FenceLost):
        return "taken_over"
    if isinstance(error, Unavailable):
        named = _named_server(error.detail)
        if named == "kafka_away":  # Kafka's client raises timeouts too, so the inner error would mislead
            return named
        inner = error.__cause__
        return cause(inner) if inner is not None and cause(inner) != "other" else named
    if isinstance(error, asyncpg.PostgresError):
        state = error.sqlstate or ""
        return _BY_SQLSTATE.get(state) or _BY_SQLSTATE.get(state[:2]) or "other"
    if isinstance(error, TimeoutError):
        return "timeout"
    if isinstance(error, OSError | asyncpg.InterfaceError | asyncpg.InternalClientError):
        return "postgres_away"
    return "other"


def _named_server(detail: str) -> str:
    return "kafka_away" if "Kafka" in detail else "postgres_away" if "PostgreSQL" in detail else "other"
