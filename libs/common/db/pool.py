"""PostgreSQL: the connection pool. The outermost caller opens the transaction and commits; nothing below it commits."""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any, TypeAlias

import asyncpg
from asyncpg.pool import PoolConnectionProxy

from libs.common.db.errors import UNAVAILABLE
from libs.common.errors import Unavailable
from libs.common.settings import Settings

#: A transaction or plain connection, with asyncpg's interface: execute, fetch, fetchrow, fetchval.
Tx: TypeAlias = "asyncpg.Connection[Any] | PoolConnectionProxy[Any]"

#: Keep a frozen process from holding locks: PostgreSQL ends its transaction, then its session.
TIMEOUTS = {
    "transaction_timeout": "10s",
    "idle_in_transaction_session_timeout": "5s",
    "lock_timeout": "5s",
    "tcp_keepalives_idle": "5",
    "tcp_keepalives_interval": "2",
    "tcp_keepalives_count": "3",
}
#: For short statements on known indexes, JIT compilation costs more than it saves.
PLANNING = {"jit": "off", "timezone": "UTC"}

#: For short statements that are repeated. They are planned once, because planning a read of the segmented log takes
#: longer than the read; and without sequential scans, which the statistics of an empty table would suggest.
BY_INDEX = {"enable_seqscan": "off", "enable_bitmapscan": "off", "plan_cache_mode": "force_generic_plan"}

OLDEST_SERVER = 17


async def keep_session(connection: "asyncpg.Connection[Any]") -> None:
    """Reset a connection that returns to the pool: roll back, if a transaction is open.

    Our code changes no session state, only SET LOCAL and transaction locks. So this saves the round trip of asyncpg's
    own reset.
    """
    if connection.is_in_transaction():
        await connection.execute("ROLLBACK")


@asynccontextmanager
async def manual_transaction(connection: Tx) -> AsyncIterator[None]:
    """A read committed transaction. The block must commit it; it is rolled back if the block raises."""
    await connection.execute("BEGIN")
    try:
        yield
    except BaseException:
        with contextlib.suppress(*UNAVAILABLE):  # then PostgreSQL rolls back by itself
            await connection.execute("ROLLBACK")
        raise


class Database:
    """A pool of connections."""

    def __init__(self, pool: "asyncpg.Pool[Any]", settings: Settings) -> None:
        self.pool = pool
        self.settings = settings

    @classmethod
    async def connect(cls, settings: Settings, name: str, **server_settings: str) -> "Database":
        """Open the pool. Raises Unavailable if PostgreSQL cannot be reached or is older than OLDEST_SERVER."""
        try:
            pool = await asyncpg.create_pool(
                settings.dsn,
                min_size=2,
                max_size=settings.pool_size,
                ssl=settings.database_ssl(),
                command_timeout=30,
                timeout=5,
                reset=keep_session,
                server_settings={"application_name": f"rapport-{name}", **TIMEOUTS, **PLANNING, **server_settings},
            )
        except UNAVAILABLE as error:
            raise Unavailable(f"PostgreSQL cannot be reached ({_address(settings.dsn)}): {error}") from error
        database = cls(pool, settings)
        async with pool.acquire() as connection:
            version = connection.get_server_version().major
        if version < OLDEST_SERVER:
            await database.close()
            raise Unavailable(f"PostgreSQL {version} is too old: Rapport needs {OLDEST_SERVER} or newer")
        return database

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Tx]:
        """A read committed transaction. It commits at the end of the block, and rolls back if the block raises."""
        async with self.pool.acquire(timeout=5) as connection, connection.transaction():
            yield connection

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Tx]:
        """A connection without a transaction, for single reads."""
        async with self.pool.acquire(timeout=5) as connection:
            yield connection

    async def session(self, name: str, **server_settings: str) -> "asyncpg.Connection[Any]":
        """A separate connection outside the pool, for session locks. The caller must close it."""
        return await asyncpg.connect(
            self.settings.dsn,
            ssl=self.settings.database_ssl(),
            timeout=5,
            command_timeout=5,
            server_settings={"application_name": name, **TIMEOUTS, **PLANNING, **server_settings},
        )

    async def ping(self) -> datetime:
        """PostgreSQL's clock. Raises Unavailable if it does not answer within 1.5 s."""
        try:
            async with asyncio.timeout(1.5), self.connection() as connection:
                now: datetime = await connection.fetchval("SELECT clock_timestamp()")
                return now
        except UNAVAILABLE as error:
            raise Unavailable(f"PostgreSQL does not answer: {type(error).__name__}: {error}") from error

    async def close(self) -> None:
        try:
            async with asyncio.timeout(5):
                await self.pool.close()
        except TimeoutError:
            self.pool.terminate()


def _address(dsn: str) -> str:
    return re.sub(r":[^:@/]+@", "@", dsn)
