"""A transaction whose writes travel together: several statements in one round trip.

A batch of one record would else spend more time on round trips than on work. What is written is sent with the next statement
whose answer is waited for, or by `flush`, as one statement (`WITH … INSERT, … UPDATE SELECT`), which PostgreSQL works off in the
order given.
"""

import re
from functools import lru_cache
from typing import Any

from libs.common.db import Tx

#: What can be part of one statement; a WITH of its own cannot, nor can what returns rows.
_WRITE = re.compile(r"\s*(?:INSERT INTO|UPDATE|DELETE FROM)\s+(\S+)")
_PLACE = re.compile(r"\$(\d+)")


class Pipeline:
    """Has the methods of a transaction that a projection uses. `execute` returns nothing, and may raise later."""

    def __init__(self, tx: Tx) -> None:
        self._tx = tx
        self._waiting: list[tuple[str, tuple[Any, ...]]] = []
        self._tables: set[str] = set()

    async def execute(self, query: str, *args: Any) -> None:
        """Write, with the next statement that is waited for."""
        write = _WRITE.match(query)
        if write is None or "RETURNING" in query:
            await self.flush()
            await self._tx.execute(query, *args)
            return
        if write[1] in self._tables:  # two parts of one statement would not see what each other wrote
            await self.flush()
        self._tables.add(write[1])
        self._waiting.append((query, args))

    async def fetch(self, query: str, *args: Any) -> list[Any]:
        await self.flush()
        return await self._tx.fetch(query, *args)

    async def fetchrow(self, query: str, *args: Any) -> Any:
        await self.flush()
        return await self._tx.fetchrow(query, *args)

    async def fetchval(self, query: str, *args: Any) -> Any:
        await self.flush()
        return await self._tx.fetchval(query, *args)

    async def flush(self) -> None:
        """Send what waits."""
        waiting, self._waiting = self._waiting, []
        self._tables.clear()
        if waiting:
            await self._tx.execute(
                _together(tuple(query for query, _ in waiting)), *(arg for _, args in waiting for arg in args)
            )


@lru_cache(maxsize=512)
def _together(queries: tuple[str, ...]) -> str:
    """One statement that works off `queries` in their order; their parameters are numbered on."""
    if len(queries) == 1:
        return queries[0]
    parts, before = [], 0
    for number, query in enumerate(queries):
        parts.append(f"w{number} AS ({_shifted(query, before)} RETURNING 1)")
        before += max((int(place) for place in _PLACE.findall(query)), default=0)
    counts = ", ".join(f"(SELECT count(*) FROM w{number})" for number in range(len(queries)))
    return f"WITH {', '.join(parts)} SELECT {counts}"


def _shifted(query: str, by: int) -> str:
    """The statement with its parameters numbered on."""
    return _PLACE.sub(lambda place: f"${int(place[1]) + by}", query)
