"""Reading the log from PostgreSQL: heads of all partitions in one query, polled with back-off; rows by their index."""

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import asyncpg
import structlog

from libs.common.db import PLANNING, TIMEOUTS, Database
from libs.common.log.reader import LARGEST_FETCH, Gap, Lag, Position, Reader, Record, Where, contiguous
from libs.common.log.tables import relation

logger = structlog.get_logger()

#: The planner must not choose a sequential scan from an empty table's statistics.
_BY_INDEX = {"enable_seqscan": "off", "enable_bitmapscan": "off"}
_HEADS = "SELECT topic, partition, next FROM log.heads WHERE topic = ANY($1)"
#: Rows until the bytes before them come to $4: 500 of the largest would be 450 MB.
_ROWS = """
SELECT "offset", key, value, appended_at FROM (
  SELECT *, sum(octet_length(value)) OVER (ORDER BY "offset" ROWS UNBOUNDED PRECEDING) - octet_length(value) AS before
  FROM (SELECT "offset", key, value, appended_at FROM {relation}
        WHERE partition = $1 AND "offset" >= $2 ORDER BY "offset" LIMIT $3) AS rows
) AS sized WHERE before < $4 ORDER BY "offset"
"""
_OLDEST = """
SELECT at.partition, (
  SELECT appended_at FROM {relation} AS record
  WHERE record.partition = at.partition AND "offset" >= at.next ORDER BY "offset" LIMIT 1
) FROM unnest($1::smallint[], $2::bigint[]) AS at(partition, next)
"""

#: Of a reader's own pool.
CONNECTIONS = 3
QUICKEST = 0.005
SLOWEST = 0.04


class PostgresReader(Reader):
    """Reads topics of one database. One task polls the heads; `fetch` waits for them and then reads rows."""

    def __init__(self, database: Database, topics: Sequence[str], connections: int = CONNECTIONS) -> None:
        self._database = database
        self._topics = list(topics)
        self._connections = connections
        self._heads: dict[Where, int] = {}
        self._gaps: dict[Where, Gap] = {}
        self._moved = asyncio.Condition()
        self._pool: asyncpg.Pool[Any] | None = None
        self._poller: asyncio.Task[None] | None = None

    async def start(self) -> None:
        settings = self._database.settings
        self._pool = await asyncpg.create_pool(
            settings.dsn,
            min_size=1,
            max_size=self._connections,
            ssl=settings.database_ssl(),
            timeout=5,
            command_timeout=10,
            server_settings={"application_name": "rapport-reader", **TIMEOUTS, **PLANNING, **_BY_INDEX},
        )
        try:
            await self._poll()
        except BaseException:
            self._pool.terminate()
            raise
        self._poller = asyncio.create_task(self._watch(), name="log heads")

    async def stop(self) -> None:
        if self._poller:
            self._poller.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._poller
        if self._pool:
            self._pool.terminate()

    async def fetch(self, where: Where, position: Position, limit: int, wait: float) -> list[Record]:
        if not await self._until_past(where, position.next, wait):
            return []
        rows = await self._reading.fetch(
            _ROWS.format(relation=relation(where.topic)), where.partition, position.next, limit, LARGEST_FETCH
        )
        records = [Record(*where, row[0], row[1], row[2], row[3], row[0]) for row in rows]
        accepted, gap = contiguous(position, records)
        if not records:  # the head is past it, but nothing is there
            gap = Gap(position.next, self._heads[where])
        if gap is None:
            self._gaps.pop(where, None)
        elif self._gaps.get(where) != gap:
            self._gaps[where] = gap
            logger.error("gap in the log", where=str(where), expected=gap.expected, found=gap.found)
        if not accepted:  # a gap at the very start: do not spin on it
            await asyncio.sleep(wait)
        return accepted

    async def lag(self, positions: Mapping[Where, Position]) -> dict[Where, Lag]:
        await self._poll()
        behind = {where: max(0, self._heads.get(where, 0) - position.next) for where, position in positions.items()}
        oldest: dict[Where, datetime] = {}
        for topic in {where.topic for where, records in behind.items() if records}:
            late = [where for where, records in behind.items() if records and where.topic == topic]
            rows = await self._reading.fetch(
                _OLDEST.format(relation=relation(topic)),
                [where.partition for where in late],
                [positions[where].next for where in late],
            )
            oldest |= {Where(topic, row[0]): row[1] for row in rows if row[1] is not None}
        now = datetime.now(UTC)
        ages = {where: max(0.0, (now - appended).total_seconds()) for where, appended in oldest.items()}
        return {where: Lag(records, ages.get(where, 0.0)) for where, records in behind.items()}

    @property
    def gaps(self) -> Mapping[Where, Gap]:
        return self._gaps

    @property
    def _reading(self) -> "asyncpg.Pool[Any]":
        if self._pool is None:
            raise RuntimeError("the reader has not been started")
        return self._pool

    async def _until_past(self, where: Where, offset: int, wait: float) -> bool:
        """Whether the head of `where` is past `offset`, waiting for it at most `wait` seconds."""
        if self._heads.get(where, 0) > offset:
            return True
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait), self._moved:
                await self._moved.wait_for(lambda: self._heads.get(where, 0) > offset)
        return self._heads.get(where, 0) > offset

    async def _poll(self) -> bool:
        """Read the heads; whether one moved."""
        rows = await self._reading.fetch(_HEADS, self._topics)
        heads = {Where(row[0], row[1]): row[2] for row in rows}
        if heads == self._heads:
            return False
        async with self._moved:
            self._heads = heads
            self._moved.notify_all()
        return True

    async def _watch(self) -> None:
        pause = QUICKEST
        while True:
            try:
                pause = QUICKEST if await self._poll() else min(pause * 1.3, SLOWEST)
            except Exception as error:  # it must not end: without it everyone would wait for heads that don't move
                if pause < 1:
                    logger.warning("the log cannot be read", error=repr(error))
                pause = 1
            await asyncio.sleep(pause)
