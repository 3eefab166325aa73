"""Wake hints: the names of events and facts that a latency-sensitive reader's rules use.

A customer at the till waits for the points of an order; nobody waits for the result of a page view. So a reader
declares the names that its rules use, and each writer notifies it immediately of such records, and a tenth of a second
later of others (see `notifier`). Hints are stored in the log's schema, because both sides may read it.
"""

import asyncio
from collections.abc import Collection, Set
from typing import TYPE_CHECKING, Any

from libs.common.db.errors import UNAVAILABLE
from libs.common.runtime.cancel import cancel_and_wait

if TYPE_CHECKING:
    import asyncpg

    from libs.common.db.pool import Tx

#: Seconds for which a writer uses the hints that it has loaded.
GOOD_FOR = 2.0


async def declare(tx: "Tx", service: str, names: Collection[str]) -> None:
    """Replace the wake hints of `service` by these names. Does not commit."""
    wanted = sorted(set(names))
    await tx.execute("DELETE FROM log.wake_hints WHERE service = $1 AND name <> ALL($2::text[])", service, wanted)
    await tx.execute(
        "INSERT INTO log.wake_hints (service, name) SELECT $1, name FROM unnest($2::text[]) AS name ON CONFLICT DO NOTHING",
        service,
        wanted,
    )


class WakeHints:
    """The wake hints of all readers, loaded in the background, at most every GOOD_FOR seconds. Until then every name
    matches."""

    def __init__(self, pool: "asyncpg.Pool[Any]") -> None:
        self._pool = pool
        self._names: Set[str] | None = None
        self._good_until = 0.0
        self._task: asyncio.Task[None] | None = None

    def match(self, names: Set[str]) -> bool:
        """Whether one of these names has a hint. Does not block."""
        now = asyncio.get_running_loop().time()
        if now >= self._good_until and (self._task is None or self._task.done()):
            self._good_until = now + GOOD_FOR
            self._task = asyncio.create_task(self._load(), name="wake hints")
        return self._names is None or not self._names.isdisjoint(names)

    async def stop(self) -> None:
        if self._task:
            await cancel_and_wait(self._task)

    async def _load(self) -> None:
        try:
            rows = await self._pool.fetch("SELECT DISTINCT name FROM log.wake_hints", timeout=5)
        except UNAVAILABLE:
            self._names = None  # unknown, so every name matches
        else:
            self._names = frozenset(row[0] for row in rows)
