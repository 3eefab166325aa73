"""Appending to the log, in the transaction that changed the state."""

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
    """A record on its way into a topic. `time` is when it happened (the record's own `time`); `name` what marketers call it,
    in topics of which readers are told at once."""

    key: str
    value: bytes
    time: datetime
    name: str = ""


#: From so many records on they are copied: a round trip more, but half of PostgreSQL's work for each record.
COPIED = 200

# Heads are locked in the order of their partitions, so that two appenders never wait for each other; the offsets that
# they give out stay dense because the heads move in the same transaction that inserts the rows.
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
SELECT record.partition, moved.first + record.place, record.key, record.time, record.value
FROM unnest($4::smallint[], $5::int[], $6::text[], $7::timestamptz[], $8::bytea[])
  AS record(partition, place, key, time, value) JOIN moved USING (partition)
"""


async def append(tx: AnyTx, topic: str, records: Sequence[Outgoing], partitions: int) -> Written:
    """Append `records`, in their order, each to the partition of its key; what was written, for the notifier.

    Call it last before the commit: it locks the heads of the partitions it writes until then. What waits in a pipeline is
    written with them. Does not commit. Raises
    TooLarge when a record is over 900 KB, Unavailable when the topic has not been set up for so many partitions, or the
    segment for their offsets is not there yet (`segments` makes them, ahead).
    """
    if not records:
        return {}
    placed = _Placed(records, partitions)
    closed = Unavailable(f"{topic} is closed, or not set up for {partitions} partitions: run `rapport migrate`")
    try:
        async with pipelined(tx) as pipeline:
            if len(records) < COPIED:
                await _insert(pipeline, topic, records, placed, closed)
                await pipeline.flush()
            else:
                await pipeline.flush()
                await _copy(pipeline.tx, topic, records, placed, closed)
    except asyncpg.CheckViolationError as error:
        if error.schema_name != SCHEMA:
            raise
        # the only check that the log has: that there is a segment
        raise Unavailable(f"{topic} has no segment for its next offsets yet", retry_after=2) from error
    return placed.names


async def append_alone(
    database: Database, notifier: Notifier, topic: str, records: Sequence[Outgoing], partitions: int
) -> None:
    """`append` in a transaction of its own, which costs few records one round trip only. Commits, and notifies readers."""
    async with database.connection() as connection:
        if len(records) < COPIED:
            written = await append(connection, topic, records, partitions)
        else:
            async with connection.transaction():
                written = await append(connection, topic, records, partitions)
        await notifier.notify(connection, topic, written)


class _Placed:
    """The partition of each record, and its place among those of its partition; how many each partition gets, and of what."""

    def __init__(self, records: Sequence[Outgoing], partitions: int) -> None:
        self.partitions: list[int] = []
        self.places: list[int] = []
        self.counts: dict[int, int] = {}
        self.names: dict[int, set[str]] = {}
        counts, names = self.counts, self.names
        for key, value, _, name in records:
            if len(value) > LARGEST:
                raise TooLarge(f"a record of {len(value):,} bytes is over the log's limit of {LARGEST:,}")
            partition = partition_of(key, partitions)
            place = counts.get(partition, 0)
            counts[partition] = place + 1
            if not place:
                names[partition] = set()
            names[partition].add(name)
            self.partitions.append(partition)
            self.places.append(place)


async def _insert(
    pipeline: Pipeline, topic: str, records: Sequence[Outgoing], placed: _Placed, closed: Exception
) -> None:
    """Move the heads and write the rows in one statement; raises `closed` when a head is missing."""
    keys, values, times, _ = zip(*records, strict=True)
    await pipeline.write(
        _INSERT.format(relation=relation(topic)),
        topic,
        list(placed.counts),
        list(placed.counts.values()),
        placed.partitions,
        placed.places,
        keys,
        times,
        values,
        rows=len(records),
        otherwise=lambda _: closed,
        ctes=_MOVED,
    )


async def _copy(tx: Tx, topic: str, records: Sequence[Outgoing], placed: _Placed, closed: Exception) -> None:
    """Move the heads, then copy the rows with the offsets that this gave; raises `closed` when a head is missing."""
    first = dict(await tx.fetch(_MOVE, topic, list(placed.counts), list(placed.counts.values())))
    if len(first) < len(placed.counts):
        raise closed
    await tx.copy_records_to_table(
        topic,
        schema_name=SCHEMA,
        columns=("partition", "offset", "key", "time", "value"),
        records=[
            (partition, first[partition] + place, key, time, value)
            for partition, place, (key, value, time, _) in zip(placed.partitions, placed.places, records, strict=True)
        ],
    )
