"""The errors of PostgreSQL's driver, in two kinds: PostgreSQL is unavailable, or it refused the data."""

import asyncpg

#: Exceptions that mean that PostgreSQL is unavailable, unless `is_data_error`. asyncpg also raises InternalClientError,
#: if a connection is terminated during a statement.
UNAVAILABLE = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)


def is_data_error(error: BaseException) -> bool:
    """Whether PostgreSQL refused the data itself: SQLSTATE class 22 (data exception), 23 (constraint violation) or 54
    (program limit exceeded: a value too long for its index)."""
    return isinstance(error, asyncpg.PostgresError) and (error.sqlstate or "")[:2] in ("22", "23", "54")
