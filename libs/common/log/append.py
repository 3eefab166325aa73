"""Appending to the log, in the transaction that changed the state."""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from libs.common.db import Tx
from libs.common.errors import TooLarge, Unavailable
from libs.common.log.partition import partition_of
from libs.common.log.tables import relation
from libs.common.records import LARGEST


class Outgoing(NamedTuple):
    """A record on its way into a topic. `time` is when it happened (the record's own `time`)."""

    key: str
    value: bytes
    time: datetime


# Heads are locked in the order of their partitions, so that two appenders never wait for each other; the offsets that
# they give out stay dense because the heads move in the same transaction that inserts the rows.
_APPEND = """
WITH counts AS MATERIALIZED (
  SELECT partition, count(*) AS records FROM unnest($2::smallint[]) AS partition GROUP BY partition
), locked AS MATERIALIZED (
  SELECT partition, next FROM log.heads
  WHERE topic = $1 AND partition IN (SELECT partition FROM counts) ORDER BY partition FOR UPDATE
), moved AS (
  UPDATE log.heads SET next = locked.next + counts.records FROM locked JOIN counts USING (partition)
  WHERE heads.topic = $1 AND heads.partition = locked.partition
  RETURNING heads.partition, locked.next AS first
)
INSERT INTO {relation} (partition, "offset", key, time, value)
SELECT record.partition, moved.first + record.place, record.key, record.time, record.value
FROM unnest($2::smallint[], $3::int[], $4::text[], $5::timestamptz[], $6::bytea[])
  AS record(partition, place, key, time, value) JOIN moved USING (partition)
"""


async def append(tx: Tx, topic: str, records: Sequence[Outgoing], partitions: int) -> None:
    """Append `records`, in their order, each to the partition of its key.

    Call it last before the commit: it locks the heads of the partitions it writes until then. Does not commit. Raises
    TooLarge when a record is over 900 KB, Unavailable when the topic has not been set up for so many partitions.
    """
    if not records:
        return
    places: list[int] = []
    lanes: list[int] = []
    counts: dict[int, int] = {}
    for record in records:
        if len(record.value) > LARGEST:
            raise TooLarge(f"a record of {len(record.value):,} bytes is over the log's limit of {LARGEST:,}")
        lane = partition_of(record.key, partitions)
        lanes.append(lane)
        places.append(counts.get(lane, 0))
        counts[lane] = places[-1] + 1
    status = await tx.execute(
        _APPEND.format(relation=relation(topic)),
        topic,
        lanes,
        places,
        [record.key for record in records],
        [record.time for record in records],
        [record.value for record in records],
    )
    if status != f"INSERT 0 {len(records)}":
        raise Unavailable(f"{topic} is not set up for {partitions} partitions: run `rapport migrate`")
