"""Appends to the log, in the transaction that changed the state."""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

import asyncpg

from libs.common.contracts.records import LARGEST
from libs.common.db.pipeline import AnyTx, Pipeline, pipelined
from libs.common.db.pool import Database, Tx
from libs.common.errors import TooLarge, Unavailable
from libs.common.log.notifier import Notifier, Written
from libs.common.log.partition import partition_of
from libs.common.log.tables import SCHEMA, relation


class Outgoing(NamedTuple):
    """A record to append. `time` is when it happened (the record's own `time`).

    `name` is the event or fact name for wake hints; only topics with notified readers need it.
    """

    key: str
    value: bytes
    time: datetime
    name: str = ""


#: From this many records on, COPY is used: one round trip more, but half of PostgreSQL's work for each record.
COPY_FROM = 200

# Heads are locked in the order of their partitions, so that appenders cannot deadlock. Offsets have no gaps, because
# the heads move in the transaction that inserts the rows.
_MOVED = """
counts AS MATERIALIZED (
  SELECT * FROM unnest($2::smallint[], $3::int[]) AS counts(partition, records)
), locked AS MATERIALIZED (
  SELECT partition, next FROM log.heads
  WHERE topic = $1 AND NOT closed AND partition IN (SELECT partition FROM counts) ORDER BY partition FOR UPDATE
), moved AS (
  UPDATE log.heads SET next = locked.next + counts.records FROM locked JOIN counts USING (partition)
  WHERE heads.topic = $1 AND heads.partition = locked.partition
    AND (SELECT count(*) FROM locked) = cardinality($2::smallint[])  -- all or none
  RETURNING heads.partition, locked.next AS first
)
"""
_MOVE = f"WITH {_MOVED} SELECT partition, first FROM moved"
_INSERT = """
INSERT INTO {relation} (partition, "offset", key, time, value)
SELECT record.partition, moved.first + record.index, record.key, record.time, record.value
FROM unnest($4::smallint[], $5::int[], $6::text[], $7::timestamptz[], $8::bytea[])
  AS record(partition, index, key, time, value) JOIN moved USING (partition)
"""


async def append(tx: AnyTx, topic: str, records: Sequence[Outgoing], partitions: int) -> Written:
    """Append `records`, in order, each to the partition of its key. Returns what was written, for the notifier.

    Call it last before the commit, because it locks the heads of the partitions until then. It flushes a pipeline. Does
    not commit. Raises TooLarge if a record is over 900 KB; Unavailable if the topic is not set up for so many
    partitions, was closed (moved to Kafka), or has no segment for the offsets yet (`segments` makes them ahead).
    """
    if not records:
        return {}
    placed = _Placed(records, partitions)
    closed = Unavailable(f"{topic} is closed, or not set up for {partitions} partitions: run `rapport migrate`")
    try:
        async with pipelined(tx) as pipeline:
            if len(records) < COPY_FROM:
                await _insert(pipeline, topic, records, placed, closed)
                await pipeline.flush()
            else:
                await pipeline.flush()
                await _copy(pipeline.tx, topic, records, placed, closed)
    except asyncpg.CheckViolationError as error:
        if error.schema_name != SCHEMA:
            raise
        # the log's tables have only one check: that a segment exists
        raise Unavailable(f"{topic} has no segment for its next offsets yet", retry_after=2) from error
    return placed.names


async def append_alone(
    database: Database, notifier: Notifier, topic: str, records: Sequence[Outgoing], partitions: int
) -> None:
    """`append` in its own transaction: one round trip below COPY_FROM records. Commits and notifies."""
    async with database.connection() as connection:
        if len(records) < COPY_FROM:
            written = await append(connection, topic, records, partitions)
        else:
            async with connection.transaction():
                written = await append(connection, topic, records, partitions)
        await notifier.notify(connection, topic, written)


class _Placed:
    """Where records go: the partition of each and its index there; the number and the names of records by partition."""

    def __init__(self, records: Sequence[Outgoing], partitions: int) -> None:
        self.partitions: list[int] = []
        self.indexes: list[int] = []
        self.counts: dict[int, int] = {}
        self.names: dict[int, set[str]] = {}
        counts, names = self.counts, self.names
        for key, value, _, name in records:
            if len(value) > LARGEST:
                raise TooLarge(f"a record of {len(value):,} bytes is over the log's limit of {LARGEST:,}")
            partition = partition_of(key, partitions)
            index = counts.get(partition, 0)
            counts[partition] = index + 1
            if not index:
                names[partition] = set()
            names[partition].add(name)
            self.partitions.append(partition)
            self.indexes.append(index)


async def _insert(
    pipeline: Pipeline, topic: str, records: Sequence[Outgoing], placed: _Placed, closed: Exception
) -> None:
    """Move the heads and insert the rows in one statement. Raises `closed` if a head is missing or closed."""
    keys, values, times, _ = zip(*records, strict=True)
    await pipeline.write(
        _INSERT.format(relation=relation(topic)),
        topic,
        list(placed.counts),
        list(placed.counts.values()),
        placed.partitions,
        placed.indexes,
        keys,
        times,
        values,
        rows=len(records),
        otherwise=lambda _: closed,
        ctes=_MOVED,
    )


async def _copy(tx: Tx, topic: str, records: Sequence[Outgoing], placed: _Placed, closed: Exception) -> None:
    """Move the heads, then copy the rows with the offsets from them. Raises `closed` if a head is missing or closed."""
    first = dict(await tx.fetch(_MOVE, topic, list(placed.counts), list(placed.counts.values())))
    if len(first) < len(placed.counts):
        raise closed
    await tx.copy_records_to_table(
        topic,
        schema_name=SCHEMA,
        columns=("partition", "offset", "key", "time", "value"),
        records=[
            (partition, first[partition] + index, key, time, value)
            for partition, index, (key, value, time, _) in zip(placed.partitions, placed.indexes, records, strict=True)
        ],
    )
