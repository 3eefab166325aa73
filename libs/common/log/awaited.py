"""What is awaited: the names of events and facts from which a reader makes something that somebody waits for.

Who stands at the till waits for the points of an order; nobody waits for what follows from a page view. So a reader says
what its rules are about, and whoever writes wakes it at once for that, and for the rest now and then (`bell`). It is a hint,
in the log's own schema because both sides may read that: who is not told finds the records a tenth of a second later.
"""

import asyncio
from collections.abc import Collection, Set
from typing import TYPE_CHECKING, Any

from libs.common.db.errors import UNAVAILABLE
from libs.common.runtime.cancel import ended

if TYPE_CHECKING:
    import asyncpg

    from libs.common.db.pool import Tx

#: Seconds for which a writer goes by what it has looked up.
GOOD_FOR = 2.0


async def declare(tx: "Tx", service: str, names: Collection[str]) -> None:
    """From now on `service` awaits what has one of these names, and nothing else. Does not commit."""
    wanted = sorted(set(names))
    await tx.execute("DELETE FROM log.awaited WHERE service = $1 AND name <> ALL($2::text[])", service, wanted)
    await tx.execute(
        "INSERT INTO log.awaited (service, name) SELECT $1, name FROM unnest($2::text[]) AS name ON CONFLICT DO NOTHING",
        service,
        wanted,
    )


class Awaited:
    """The names that any reader awaits, looked up beside the work and at most every GOOD_FOR seconds; until they are known
    everything is awaited."""

    def __init__(self, pool: "asyncpg.Pool[Any]") -> None:
        self._pool = pool
        self._names: Set[str] | None = None
        self._good_until = 0.0
        self._task: asyncio.Task[None] | None = None

    def any_of(self, names: Set[str]) -> bool:
        """Whether one of them is awaited."""
        now = asyncio.get_running_loop().time()
        if now >= self._good_until and (self._task is None or self._task.done()):
            self._good_until = now + GOOD_FOR
            self._task = asyncio.create_task(self._look(), name="awaited names")
        return self._names is None or not self._names.isdisjoint(names)

    async def stop(self) -> None:
        if self._task:
            await ended(self._task)

    async def _look(self) -> None:
        try:
            rows = await self._pool.fetch("SELECT DISTINCT name FROM log.awaited", timeout=5)
        except UNAVAILABLE:
            self._names = None  # not known, so everything
        else:
            self._names = frozenset(row[0] for row in rows)
