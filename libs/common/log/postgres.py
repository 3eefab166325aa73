"""Reads the log from PostgreSQL. It learns of new records by notifications and by polling the heads."""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from operator import attrgetter
from typing import Any, NamedTuple

import asyncpg
import structlog

from libs.common.db.pool import Database
from libs.common.log import notifier
from libs.common.log.reader import LARGEST_FETCH, Gap, Lag, Position, Reader, Record, TopicPartition, after, contiguous
from libs.common.log.tables import relation
from libs.common.runtime.cancel import cancel_and_wait

logger = structlog.get_logger()

_HEADS = "SELECT topic, partition, next FROM log.heads WHERE topic = ANY($1)"
#: The rows of each partition, until their values reach $4 bytes: 500 of the largest would be 450 MB. The outer query
#: does not sort them, because PostgreSQL would copy them all; Python sorts them, and they usually are in order. $5 and
#: $6 bound all offsets, so that PostgreSQL plans and locks only the segments concerned. Offsets have no gaps, so
#: nothing is left out.
_ROWS = """
SELECT at.partition, rows."offset", rows.key, rows.value, rows.appended_at
FROM unnest($1::smallint[], $2::bigint[], $3::int[]) AS at(partition, next, most) CROSS JOIN LATERAL (
  SELECT *, sum(octet_length(value)) OVER (ORDER BY "offset" ROWS UNBOUNDED PRECEDING) - octet_length(value) AS before
  FROM (SELECT "offset", key, value, appended_at FROM {relation}
        WHERE partition = at.partition AND "offset" >= at.next AND "offset" < at.next + at.most
          AND "offset" >= $5 AND "offset" < $6 ORDER BY "offset" LIMIT at.most) AS found
) AS rows WHERE rows.before < $4
"""
_OLDEST = """
SELECT at.partition, (
  SELECT appended_at FROM {relation} AS record
  WHERE record.partition = at.partition AND "offset" = at.next AND "offset" >= $3 AND "offset" <= $4
) FROM unnest($1::smallint[], $2::bigint[]) AS at(partition, next)
"""

#: The connections that a reader listens on, beside its pool (which should plan `BY_INDEX`).
LISTEN_CONNECTIONS = 1
#: Seconds between two polls of the heads; and while records arrive in topics without notifications.
POLL, BUSY_POLL = 0.5, 0.1


_offset = attrgetter("offset")


class _Rows(NamedTuple):
    """Records of a partition; `whole` if there were no more."""

    records: list[Record]
    whole: bool


class _Request(NamedTuple):
    """A request for up to `limit` rows of a partition; `found` gets the answer."""

    tp: TopicPartition
    next: int
    limit: int
    found: "asyncio.Future[_Rows]"


class PostgresReader(Reader):
    """Reads topics of one database. It listens for notifications of the topics in `at_once` (see `notifier`) and polls
    the heads of all; `fetch` waits for either. Concurrent fetches of one topic share a query."""

    def __init__(self, database: Database, topics: Sequence[str], at_once: Collection[str] = ()) -> None:
        self._database = database
        self._topics = list(topics)
        self._at_once = [topic for topic in topics if topic in at_once]
        self._heads: dict[TopicPartition, int] = {}
        self._gaps: dict[TopicPartition, Gap] = {}
        self._listen_connection: asyncpg.Connection[Any] | None = None
        self._poller: asyncio.Task[None] | None = None
        self._partitions = [
            TopicPartition(topic, partition) for topic in topics for partition in range(database.settings.partitions)
        ]
        self._events = {tp: asyncio.Event() for tp in self._partitions}
        self._wakeups = dict.fromkeys(self._partitions, 0)  # how often each partition was woken
        #: Where a partition's end was reached: its number of wake-ups then, and the offset.
        self._exhausted: dict[TopicPartition, tuple[int, int]] = {}
        self._requests: dict[str, list[_Request]] = {topic: [] for topic in topics}
        self._fetchers: dict[str, asyncio.Task[None]] = {}

    async def start(self) -> None:
        try:
            await self._listen()
            await self._poll()
        except BaseException:
            await self._close()
            raise
        self._poller = asyncio.create_task(self._poll_forever(), name="log heads")

    async def stop(self) -> None:
        await cancel_and_wait(*([self._poller] if self._poller else []), *self._fetchers.values())
        await self._close()

    async def fetch(self, tp: TopicPartition, position: Position, limit: int, wait: float) -> list[Record]:
        if tp not in self._events:  # a topic that is in Kafka only
            await asyncio.sleep(wait)
            return []
        until = asyncio.get_running_loop().time() + wait
        while True:
            wakeups, wakeup = self._wakeups[tp], self._events[tp]
            if self._exhausted.get(tp) != (wakeups, position.next):
                found = await self._read(tp, position.next, limit)
                accepted, gap = contiguous(position, found.records)
                if not found.records and self._heads.get(tp, 0) > position.next:
                    gap = Gap(position.next, self._heads[tp])
                self._log_gap(tp, gap)
                if found.whole:
                    self._exhausted[tp] = (wakeups, after(position, accepted).next)
                if accepted:
                    return accepted
            try:
                async with asyncio.timeout_at(until):
                    await wakeup.wait()
            except TimeoutError:
                if self._heads.get(tp, 0) > position.next:  # a gap: read again
                    self._exhausted.pop(tp, None)
                return []

    async def lag(self, positions: Mapping[TopicPartition, Position]) -> dict[TopicPartition, Lag]:
        await self._poll()
        behind = {tp: max(0, self._heads.get(tp, 0) - position.next) for tp, position in positions.items()}
        oldest: dict[TopicPartition, datetime] = {}
        for topic in {tp.topic for tp, records in behind.items() if records}:
            late = [tp for tp, records in behind.items() if records and tp.topic == topic]
            rows = await self._database.pool.fetch(
                _OLDEST.format(relation=relation(topic)),
                [tp.partition for tp in late],
                [positions[tp].next for tp in late],
                min(positions[tp].next for tp in late),
                max(positions[tp].next for tp in late),
            )
            oldest |= {TopicPartition(topic, row[0]): row[1] for row in rows if row[1] is not None}
        now = datetime.now(UTC)
        ages = {tp: max(0.0, (now - appended).total_seconds()) for tp, appended in oldest.items()}
        return {tp: Lag(records, ages.get(tp, 0.0)) for tp, records in behind.items()}

    @property
    def gaps(self) -> Mapping[TopicPartition, Gap]:
        return self._gaps

    # -- rows ---------------------------------------------------------------------------------------------------------
    async def _read(self, tp: TopicPartition, next: int, limit: int) -> _Rows:
        """Rows from `next` on. Concurrent requests for one topic share a query."""
        found: asyncio.Future[_Rows] = asyncio.get_running_loop().create_future()
        self._requests[tp.topic].append(_Request(tp, next, limit, found))
        fetcher = self._fetchers.get(tp.topic)
        if fetcher is None or fetcher.done():
            self._fetchers[tp.topic] = asyncio.create_task(self._serve(tp.topic), name=f"fetch {tp.topic}")
        return await found

    async def _serve(self, topic: str) -> None:
        """Answer the requests for a topic, until there are none."""
        await asyncio.sleep(0)  # lets tasks that were woken at the same time add their requests
        while requests := [one for one in self._requests[topic] if not one.found.done()]:
            self._requests[topic] = []
            share = LARGEST_FETCH // len(requests)
            try:
                rows = await self._database.pool.fetch(
                    _ROWS.format(relation=relation(topic)),
                    [one.tp.partition for one in requests],
                    [one.next for one in requests],
                    [one.limit for one in requests],
                    share,
                    min(one.next for one in requests),
                    max(one.next + one.limit for one in requests),
                )
            except BaseException as error:
                for one in requests:
                    if isinstance(error, Exception) and not one.found.done():
                        one.found.set_exception(error)
                    one.found.cancel()
                if not isinstance(error, Exception):
                    raise
                continue
            records: dict[int, list[Record]] = {}
            for partition, offset, key, value, appended_at in rows:
                record = Record(topic, partition, offset, key, value, appended_at, offset)
                records.setdefault(partition, []).append(record)
            for one in requests:
                if not one.found.done():
                    answer = sorted(records.get(one.tp.partition, ()), key=_offset)
                    whole = len(answer) < one.limit and sum(len(record.value) for record in answer) < share
                    one.found.set_result(_Rows(answer, whole))

    def _log_gap(self, tp: TopicPartition, gap: Gap | None) -> None:
        if gap is None:
            self._gaps.pop(tp, None)
        elif self._gaps.get(tp) != gap:
            self._gaps[tp] = gap
            logger.error("gap in the log", topic_partition=str(tp), expected=gap.expected, found=gap.found)

    # -- wake-ups -----------------------------------------------------------------------------------------------------
    async def _listen(self) -> None:
        """Listen, if any topic has notifications. Raises what asyncpg raises."""
        if self._at_once and (self._listen_connection is None or self._listen_connection.is_closed()):
            connection = await self._database.session("rapport-listen")
            try:
                for topic in self._at_once:
                    await connection.add_listener(notifier.channel(topic), partial(self._on_notification, topic))
            except BaseException:
                connection.terminate()
                raise
            self._listen_connection = connection

    def _on_notification(self, topic: str, _: object, __: int, ___: str, payload: object) -> None:
        notified = notifier.partitions(str(payload))
        for tp in self._partitions:
            if tp.topic == topic and tp.partition in notified:
                self._wake(tp)

    def _wake(self, tp: TopicPartition) -> None:
        """Wake the fetches of a partition, because it may have new records."""
        self._wakeups[tp] += 1
        wakeup, self._events[tp] = self._events[tp], asyncio.Event()
        wakeup.set()

    async def _poll(self) -> bool:
        """Read the heads and wake partitions that moved. Returns whether any is of a topic without notifications."""
        rows = await self._database.pool.fetch(_HEADS, self._topics)
        heads = {TopicPartition(row[0], row[1]): row[2] for row in rows}
        moved = [tp for tp, next in heads.items() if self._heads.get(tp) != next and tp in self._events]
        self._heads = heads
        for tp in moved:
            self._wake(tp)
        return any(tp.topic not in self._at_once for tp in moved)

    async def _poll_forever(self) -> None:
        warned = False
        while True:
            try:
                await self._listen()
                pause = BUSY_POLL if await self._poll() else POLL
                warned = False
            except Exception as error:  # must not end, because it wakes all fetches
                if not warned:
                    logger.warning("cannot read the log", error=repr(error))
                warned, pause = True, 1.0
            await asyncio.sleep(pause)

    async def _close(self) -> None:
        if self._listen_connection:
            self._listen_connection.terminate()
