"""A shadow: copies of a service's state tables, at first empty, in their own schema in the same database.

The service's SQL runs unchanged: its statements are redirected to the shadow by table name. A table that is neither in
the shadow nor declared as only read is refused, so no live table can be written.
"""

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, cast

import asyncpg

from libs.common.db.pool import Tx
from libs.common.replay.replayable import Replayable

#: Live tables that every fold reads and no shadow copies.
READ_ONLY = ("rulebooks",)
_OPTIONS = "SELECT array_to_string(reloptions, ', ') FROM pg_class WHERE oid = $1::text::regclass"
_RIGHTS = """
SELECT grantee, privilege_type FROM information_schema.role_table_grants
WHERE table_schema = $1 AND table_name = $2 AND grantee <> current_user AND grantee <> 'PUBLIC'
"""


class Shadow:
    """`name` is its purpose (replay, rebuild, what_if). A new shadow replaces an old one of the same name."""

    def __init__(self, replayable: Replayable[Any, Any], name: str) -> None:
        self.live = replayable.service
        self.schema = f"{replayable.service}_{name}"
        self.tables = (*replayable.state, *replayable.outside)
        self._only_read = (*READ_ONLY, *replayable.only_read)
        self._redirect = lru_cache(maxsize=512)(self._redirect_query)
        self._mention = re.compile(rf"(?<![\w.\"'])(?:{self.live}|\"{self.live}\")\.\"?(\w+)\"?")

    async def make(self, tx: Tx, *, durable: bool) -> None:
        """Create the tables, empty, after dropping what an earlier run left. `durable`: to be swapped in later."""
        await self.drop(tx)
        await tx.execute(f'CREATE SCHEMA "{self.schema}"')
        for table in self.tables:
            kind = "TABLE" if durable else "UNLOGGED TABLE"
            await tx.execute(f'CREATE {kind} "{self.schema}"."{table}" (LIKE "{self.live}"."{table}" INCLUDING ALL)')
            if options := await tx.fetchval(_OPTIONS, f'"{self.live}"."{table}"'):
                await tx.execute(f'ALTER TABLE "{self.schema}"."{table}" SET ({options})')
            for role, right in await tx.fetch(_RIGHTS, self.live, table):
                await tx.execute(f'GRANT {right} ON "{self.schema}"."{table}" TO "{role}"')

    async def drop(self, tx: Tx) -> None:
        await tx.execute(f'DROP SCHEMA IF EXISTS "{self.schema}" CASCADE')

    def redirected(self, connection: Tx) -> Tx:
        """The connection with the service's own statements redirected to the shadow."""
        return cast("Tx", _Redirected(connection, self._redirect))

    def _redirect_query(self, query: str) -> str:
        return self._mention.sub(self._redirect_table, query)

    def _redirect_table(self, mention: re.Match[str]) -> str:
        table = mention[1]
        if table in self.tables:
            return f'"{self.schema}"."{table}"'
        if table in self._only_read:
            return mention[0]
        raise RuntimeError(f"a replay of {self.live} must not use the live table {table}")

    # -- swapping -----------------------------------------------------------------------------------------------------
    async def lift_versions(self, tx: Tx, version: int) -> None:
        """Add `version` to all customers' versions, so that a process cannot save a live row that it loaded before."""
        await tx.execute(f'UPDATE "{self.schema}".customers SET version = version + {version}')
        await tx.execute(f'ALTER TABLE "{self.schema}".customers ALTER version SET DEFAULT {version}')

    async def swap(self, tx: Tx, tables: Sequence[str]) -> None:
        """Replace the live `tables` by the shadow's, with the same index names. Does not commit."""
        await tx.execute(f"ALTER TABLE \"{self.schema}\".customers ALTER version SET DEFAULT '0'")
        for table in tables:
            names = await self._index_names(tx, table)
            await tx.execute(f'DROP TABLE "{self.live}"."{table}"')
            await tx.execute(f'ALTER TABLE "{self.schema}"."{table}" SET SCHEMA "{self.live}"')
            for old, new in names.items():
                if old != new:
                    await tx.execute(f'ALTER INDEX "{self.live}"."{old}" RENAME TO "{new}"')
        await self.drop(tx)

    async def _index_names(self, tx: Tx, table: str) -> dict[str, str]:
        """The live name of each index of the shadow's table, matched by definition."""
        live = {_bare(row): row["indexname"] for row in await _indexes(tx, self.live, table)}
        return {row["indexname"]: live[_bare(row)] for row in await _indexes(tx, self.schema, table)}


async def _indexes(tx: Tx, schema: str, table: str) -> list[asyncpg.Record]:
    query = "SELECT schemaname, tablename, indexname, indexdef FROM pg_indexes WHERE schemaname = $1 AND tablename = $2"
    return await tx.fetch(query, schema, table)


def _bare(row: asyncpg.Record) -> str:
    """An index's definition without its name and schema."""
    definition: str = row["indexdef"]
    return definition.replace(f" {row['indexname']} ON ", " ON ").replace(f" ON {row['schemaname']}.", " ON ")


class _Redirected:
    """A connection whose statements are redirected, with the methods that services use."""

    def __init__(self, connection: Tx, redirect: Any) -> None:
        self._connection = connection
        self._redirect = redirect

    async def execute(self, query: str, *args: Any, **options: Any) -> Any:
        return await self._connection.execute(self._redirect(query), *args, **options)

    async def fetch(self, query: str, *args: Any, **options: Any) -> Any:
        return await self._connection.fetch(self._redirect(query), *args, **options)

    async def fetchrow(self, query: str, *args: Any, **options: Any) -> Any:
        return await self._connection.fetchrow(self._redirect(query), *args, **options)

    async def fetchval(self, query: str, *args: Any, **options: Any) -> Any:
        return await self._connection.fetchval(self._redirect(query), *args, **options)
