"""Why a partition pauses: a word for metrics, and a few words for people."""

import asyncpg

from libs.common.errors import Unavailable
from libs.common.log.positions import FenceLost

#: SQLSTATE (or its class) to the cause; the longer match wins.
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

WORDS = {
    "disk_full": "the disk of PostgreSQL is full",
    "out_of_memory": "PostgreSQL is out of memory",
    "too_many_connections": "PostgreSQL has no connection left",
    "database_limits": "PostgreSQL is at one of its limits",
    "timeout": "PostgreSQL does not answer in time",
    "lock_timeout": "another transaction holds a lock for long",
    "conflict": "two transactions met",
    "postgres_away": "PostgreSQL cannot be reached",
    "kafka_away": "Kafka cannot be reached",
    "taken_over": "another process has taken the partition over",
    "other": "something that is needed is away",
}


def cause(error: BaseException) -> str:
    """The cause of a pause: a key of WORDS."""
    if isinstance(error, FenceLost):
        return "taken_over"
    if isinstance(error, Unavailable):
        if (said := _of_sentence(error.detail)) == "kafka_away":  # whose client's errors are timeouts too
            return said
        inner = error.__cause__
        return cause(inner) if inner is not None and cause(inner) != "other" else said
    if isinstance(error, asyncpg.PostgresError):
        state = error.sqlstate or ""
        return _BY_SQLSTATE.get(state) or _BY_SQLSTATE.get(state[:2]) or "other"
    if isinstance(error, TimeoutError):
        return "timeout"
    if isinstance(error, OSError | asyncpg.InterfaceError | asyncpg.InternalClientError):
        return "postgres_away"
    return "other"


def _of_sentence(detail: str) -> str:
    return "kafka_away" if "Kafka" in detail else "postgres_away" if "PostgreSQL" in detail else "other"
