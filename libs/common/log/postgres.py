"""Reading the log from PostgreSQL: told of new records, or by a look at all heads; rows by their index."""

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
#: Of each partition rows until the bytes before them come to $4: 500 of the largest would be 450 MB. Sorted here, where that
#: costs nothing: they come in order, but PostgreSQL would copy all of them to make sure. $5 and $6 bound all
#: offsets, so that only the segments concerned are planned and locked (offsets are dense: nothing is left out).
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

#: Connections that a reader listens on, beside the pool that it reads through (which should plan `BY_INDEX`).
LISTENING = 1
#: Seconds between two looks at the heads, for what nobody told of; and where nobody is told, while something comes.
POLL, SOON = 0.5, 0.1


_offset = attrgetter("offset")


class _Found(NamedTuple):
    """Records of a partition; `whole` when there were no more."""

    records: list[Record]
    whole: bool


class _Wanted(NamedTuple):
    tp: TopicPartition
    next: int
    most: int
    found: "asyncio.Future[_Found]"


class PostgresReader(Reader):
    """Reads topics of one database. Of those `at_once` it is told when there are new records (`notifier`); it looks at the heads of
    all now and then; `fetch` waits for either. What partitions of one topic want at the same time is read by one query.
    """

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
        self._wakeups = dict.fromkeys(self._partitions, 0)  # how often each was woken
        self._emptied: dict[
            TopicPartition, tuple[int, int]
        ] = {}  # at which of them, and where, a partition's end was reached
        self._wanted: dict[str, list[_Wanted]] = {topic: [] for topic in topics}
        self._fetchers: dict[str, asyncio.Task[None]] = {}

    async def start(self) -> None:
        try:
            await self._listen()
            await self._poll()
        except BaseException:
            await self._close()
            raise
        self._poller = asyncio.create_task(self._watch(), name="log heads")

    async def stop(self) -> None:
        await cancel_and_wait(*([self._poller] if self._poller else []), *self._fetchers.values())
        await self._close()

    async def fetch(self, tp: TopicPartition, position: Position, limit: int, wait: float) -> list[Record]:
        if tp not in self._events:  # Kafka's alone
            await asyncio.sleep(wait)
            return []
        until = asyncio.get_running_loop().time() + wait
        while True:
            wakeups, wakeup = self._wakeups[tp], self._events[tp]
            if self._emptied.get(tp) != (wakeups, position.next):
                found = await self._read(tp, position.next, limit)
                accepted, gap = contiguous(position, found.records)
                if not found.records and self._heads.get(tp, 0) > position.next:
                    gap = Gap(position.next, self._heads[tp])
                self._log_gap(tp, gap)
                if found.whole:
                    self._emptied[tp] = (wakeups, after(position, accepted).next)
                if accepted:
                    return accepted
            try:
                async with asyncio.timeout_at(until):
                    await wakeup.wait()
            except TimeoutError:
                if self._heads.get(tp, 0) > position.next:  # a gap: look again
                    self._emptied.pop(tp, None)
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
    async def _read(self, tp: TopicPartition, next: int, most: int) -> _Found:
        """Rows from `next` on. Those who ask at the same time are answered by one query."""
        found: asyncio.Future[_Found] = asyncio.get_running_loop().create_future()
        self._wanted[tp.topic].append(_Wanted(tp, next, most, found))
        fetcher = self._fetchers.get(tp.topic)
        if fetcher is None or fetcher.done():
            self._fetchers[tp.topic] = asyncio.create_task(self._answer(tp.topic), name=f"fetch {tp.topic}")
        return await found

    async def _answer(self, topic: str) -> None:
        await asyncio.sleep(0)  # who was woken at the same time asks too
        while wanted := [one for one in self._wanted[topic] if not one.found.done()]:
            self._wanted[topic] = []
            share = LARGEST_FETCH // len(wanted)
            try:
                rows = await self._database.pool.fetch(
                    _ROWS.format(relation=relation(topic)),
                    [one.tp.partition for one in wanted],
                    [one.next for one in wanted],
                    [one.most for one in wanted],
                    share,
                    min(one.next for one in wanted),
                    max(one.next + one.most for one in wanted),
                )
            except BaseException as error:
                for one in wanted:
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
            for one in wanted:
                if not one.found.done():
                    mine = sorted(records.get(one.tp.partition, ()), key=_offset)
                    whole = len(mine) < one.most and sum(len(record.value) for record in mine) < share
                    one.found.set_result(_Found(mine, whole))

    def _log_gap(self, tp: TopicPartition, gap: Gap | None) -> None:
        if gap is None:
            self._gaps.pop(tp, None)
        elif self._gaps.get(tp) != gap:
            self._gaps[tp] = gap
            logger.error("gap in the log", topic_partition=str(tp), expected=gap.expected, found=gap.found)

    # -- wake-ups -----------------------------------------------------------------------------------------------------
    async def _listen(self) -> None:
        """Listen, unless no topic is notified of. Raises what asyncpg raises."""
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
        """There may be new records in a partition: wake whoever waits for them."""
        self._wakeups[tp] += 1
        wakeup, self._events[tp] = self._events[tp], asyncio.Event()
        wakeup.set()

    async def _poll(self) -> bool:
        """Read the heads, and wake those that moved; whether any were of topics that nobody notifies us of."""
        rows = await self._database.pool.fetch(_HEADS, self._topics)
        heads = {TopicPartition(row[0], row[1]): row[2] for row in rows}
        moved = [tp for tp, next in heads.items() if self._heads.get(tp) != next and tp in self._events]
        self._heads = heads
        for tp in moved:
            self._wake(tp)
        return any(tp.topic not in self._at_once for tp in moved)

    async def _watch(self) -> None:
        warned = False
        while True:
            try:
                await self._listen()
                pause = SOON if await self._poll() else POLL
                warned = False
            except Exception as error:  # it must not end: without it nobody would be woken
                if not warned:
                    logger.warning("the log cannot be read", error=repr(error))
                warned, pause = True, 1.0
            await asyncio.sleep(pause)

    async def _close(self) -> None:
        if self._listen_connection:
            self._listen_connection.terminate()
