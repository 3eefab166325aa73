"""How far the readers are, by their stored positions: asked of PostgreSQL, so that it costs the services nothing."""

import asyncio
import time
from typing import Any, Self

import asyncpg

from libs.common.contracts.ingest import EVENTS
from tests.bench.installation import READERS

EVERY = 0.1
PATIENCE = 120.0

_POSITIONS = " UNION ALL ".join(f"SELECT topic, partition, next FROM {name}.positions" for name in READERS)
#: In one snapshot: events folded, records of other topics that some reader or forwarder has not read, records written.
_STANDING = f"""
SELECT
  (SELECT coalesce(sum(next), 0) FROM profile.positions WHERE reader = 'fold' AND topic = $1),
  (SELECT coalesce(sum(heads.next - at.next), 0) FROM log.heads JOIN ({_POSITIONS}) AS at USING (topic, partition)
   WHERE topic <> $1),
  (SELECT sum(next) FROM log.heads WHERE topic <> $1)
"""


class Progress:
    """`async with Progress(dsn)`: one connection that asks ten times a second at most."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._connection: asyncpg.Connection[Any] | None = None

    async def __aenter__(self) -> Self:
        self._connection = await asyncpg.connect(self._dsn, server_settings={"jit": "off"})
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._connection:
            await self._connection.close()

    async def folded(self) -> int:
        """Events that profile has read."""
        return (await self._standing())[0]

    async def reach(self, events: int) -> float:
        """Wait until profile has read so many events; when that was, by `time.perf_counter()`."""
        return await self._until(events, alone=True)

    async def done(self, events: int) -> float:
        """Wait until so many events and all that followed from them have been read by everyone; when that was."""
        return await self._until(events, alone=False)

    async def _until(self, events: int, *, alone: bool) -> float:
        moved = finished = time.perf_counter()
        last: tuple[int, int, int] | None = None
        while True:
            standing, now = await self._standing(), time.perf_counter()
            folded, unread, _ = standing
            complete = folded >= events and (alone or unread == 0)
            if complete and (alone or standing == last):  # seen twice: deliveries may write once more
                return finished if last == standing else now
            if standing != last:
                moved = finished = now
            elif now - moved > PATIENCE:
                raise RuntimeError(
                    f"nothing has moved for {PATIENCE:g} s: {folded} of {events} events, {unread} unread"
                )
            last = standing
            await asyncio.sleep(EVERY)

    async def _standing(self) -> tuple[int, int, int]:
        if self._connection is None:
            raise RuntimeError("not connected")
        row = await self._connection.fetchrow(_STANDING, EVENTS)
        if row is None:
            raise RuntimeError("no answer")
        return int(row[0]), int(row[1]), int(row[2])
