"""Retention: a topic's segment is dropped once it is old enough and every reader has read it. Readers that are too far
behind are reported."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from libs.common.contracts.profile import JOURNAL
from libs.common.contracts.registry import TOPICS
from libs.common.db.pool import Tx
from libs.common.errors import NotFound
from libs.common.log import segments
from libs.common.log.reader import TopicPartition
from libs.common.log.segments import Segment
from libs.common.log.tables import SCHEMA
from libs.common.settings import Settings

_NOTE = """
INSERT INTO log.readers (reader, topic, partition, next)
SELECT $1 || '/' || reader, topic, partition, next FROM "{service}".positions WHERE reader = ANY($2)
ON CONFLICT (reader, topic, partition) DO UPDATE SET next = excluded.next, noted_at = now(),
  expired_at = CASE WHEN excluded.next > readers.next THEN NULL ELSE readers.expired_at END
"""
_READERS = "SELECT reader, partition, next, expired_at IS NOT NULL AS expired FROM log.readers WHERE topic = $1"
_HEADS = "SELECT partition, next FROM log.heads WHERE topic = $1"
_NEWEST = """
SELECT max((SELECT appended_at FROM {segment} WHERE partition = at.partition ORDER BY "offset" DESC LIMIT 1))
FROM unnest($1::smallint[]) AS at(partition)
"""


class Pinned(NamedTuple):
    """A reader that keeps old segments of a topic from being dropped: their number, and its unread records."""

    reader: str
    topic: str
    segments: int
    records: int

    def __str__(self) -> str:
        return (
            f"{self.reader} has {self.records:,} unread records of {self.topic}, so {self.segments} old segments are kept:"
            f" start it, or expire it: rapport readers --expire {self.reader}"
        )


class Expired(NamedTuple):
    """The segments that may be dropped, and the readers that keep others."""

    due: list[Segment]
    pinned: list[Pinned]


async def note(tx: Tx, service: str, settings: Settings) -> None:
    """Store in the log's schema how far a service's readers are. An expired reader that advances counts again."""
    readers = ["fold", "forwarder"] if settings.log == "kafka" else ["fold"]
    await tx.execute(_NOTE.format(service=service), service, readers)


def expected(topic: str, settings: Settings) -> list[str]:
    """The readers for which a topic is kept even if their positions were never noted."""
    described = next(each for each in TOPICS if each.name == topic)
    if settings.log == "kafka":  # the others read from Kafka
        return [f"{described.writer}/forwarder"]
    return [f"{reader}/fold" for reader in described.readers]


async def expirable(tx: Tx, topic: str, settings: Settings, now: datetime | None = None) -> Expired:
    """Which segments of a topic may be dropped now. Changes nothing."""
    days = settings.keep_journal_days if topic == JOURNAL else settings.keep_days
    if topic == JOURNAL and not days:
        return Expired([], [])
    heads = {TopicPartition(topic, row[0]): int(row[1]) for row in await tx.fetch(_HEADS, topic)}
    existing = await segments.existing(tx, topic)
    size = segments.size_of(topic, settings)
    before = (now or datetime.now(UTC)) - timedelta(days=days)
    old = [
        segment
        for segment in segments.droppable(existing, heads, heads, size)
        if not (newest := await _newest(tx, segment, heads)) or newest < before
    ]
    readers = await _readers(tx, topic, settings, heads)
    passed = {tp: min([each[tp] for each in readers.values()], default=heads[tp]) for tp in heads}
    due = [segment for segment in segments.droppable(existing, heads, passed, size) if segment in old]
    pinned = []
    for reader, next in sorted(readers.items()):
        alone = segments.droppable(existing, heads, next, size)
        if held := [segment for segment in old if segment not in alone]:
            behind = sum(max(0, head - next[tp]) for tp, head in heads.items())
            pinned.append(Pinned(reader, topic, len(held), behind))
    return Expired(due, pinned)


async def _newest(
    tx: Tx, segment: Segment, heads: Sequence[TopicPartition] | dict[TopicPartition, int]
) -> datetime | None:
    query = _NEWEST.format(segment=f'{SCHEMA}."{segment.name}"')
    newest: datetime | None = await tx.fetchval(query, [tp.partition for tp in heads])
    return newest


async def _readers(
    tx: Tx, topic: str, settings: Settings, heads: dict[TopicPartition, int]
) -> dict[str, dict[TopicPartition, int]]:
    """Each reader's next offset by partition. An expired reader counts as being at the heads."""
    readers: dict[str, dict[TopicPartition, int]] = {reader: {} for reader in expected(topic, settings)}
    for reader, partition, next, expired in await tx.fetch(_READERS, topic):
        readers.setdefault(reader, {})[TopicPartition(topic, partition)] = (
            heads.get(TopicPartition(topic, partition), 0) if expired else next
        )
    return {reader: {tp: at.get(tp, 0) for tp in heads} for reader, at in readers.items()}


async def expire(tx: Tx, reader: str) -> None:
    """Expire a reader: no records are kept for it until it advances again. Raises NotFound. Does not commit."""
    topics = [
        topic.name for topic in TOPICS if reader in (f"{topic.writer}/forwarder", *(f"{r}/fold" for r in topic.readers))
    ]
    if not topics:
        raise NotFound(f"there is no reader {reader}: readers are called rewards/fold, rewards/forwarder and so on")
    await tx.execute(
        "INSERT INTO log.readers (reader, topic, partition, next, expired_at)"
        " SELECT $1, topic, partition, 0, now() FROM log.heads WHERE topic = ANY($2)"
        " ON CONFLICT (reader, topic, partition) DO UPDATE SET expired_at = now()",
        reader,
        topics,
    )


async def listed(tx: Tx) -> list[str]:
    """A line for each reader of each topic: how far it is behind, and when that was noted."""
    rows = await tx.fetch(
        "SELECT r.reader, topic, sum(greatest(h.next - r.next, 0))::bigint AS behind, min(noted_at) AS noted,"
        " bool_and(expired_at IS NOT NULL) AS expired FROM log.readers r JOIN log.heads h USING (topic, partition)"
        " GROUP BY r.reader, topic ORDER BY topic, r.reader"
    )
    return [
        f"{row['topic']}: {row['reader']} is {row['behind']:,} records behind, as of {row['noted']:%Y-%m-%d %H:%M:%S} UTC"
        + (" (expired)" if row["expired"] else "")
        for row in rows
    ]
