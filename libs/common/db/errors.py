"""What PostgreSQL's driver raises, sorted by what it asks of us: to wait, or to look at the data."""

import asyncpg

#: Exceptions that say "PostgreSQL is away or in the way", not "this record is bad". See `is_data_error`.
#: (asyncpg raises InternalClientError too, when a connection is terminated under a statement.)
UNAVAILABLE = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)


def is_data_error(error: BaseException) -> bool:
    """Whether PostgreSQL refused the data itself: SQLSTATE class 22 (data exception), 23 (constraint violation) or 54
    (program limit exceeded: a value too long for its index)."""
    return isinstance(error, asyncpg.PostgresError) and (error.sqlstate or "")[:2] in ("22", "23", "54")
