"""Epochs. If records are lost and their offsets must be given out again, the partition begins a new epoch.

Each record in Kafka carries (epoch, offset). A reader that meets a higher epoch than its own follows it, back to the
offset at which that epoch begins. PostgreSQL stores the first offset of each epoch, because a rewound forwarder also
sends records of older epochs.
"""

from bisect import bisect_right
from collections.abc import Sequence

from libs.common.db.pool import Tx
from libs.common.errors import NotFound
from libs.common.log.reader import TopicPartition


class Epochs:
    """The epochs of one partition, as (first offset, epoch), sorted."""

    def __init__(self, begun: list[tuple[int, int]]) -> None:
        self._begun = begun

    def of(self, offset: int) -> tuple[int, int]:
        """The epoch of a record and the offset at which it begins: the newest that begins at or before the record."""
        count = bisect_right(self._begun, offset, key=lambda each: each[0])
        return max(((epoch, first) for first, epoch in self._begun[:count]), default=(0, 0))

    def headers(self, offset: int) -> Sequence[tuple[str, bytes]]:
        """The Kafka headers of a record."""
        epoch, since = self.of(offset)
        headers = (("epoch", b"%d" % epoch), ("offset", b"%d" % offset))
        return (*headers, ("since", b"%d" % since)) if epoch else headers


async def load(tx: Tx, tp: TopicPartition) -> Epochs:
    """Load a partition's epochs."""
    rows = await tx.fetch("SELECT first, epoch FROM log.epochs WHERE topic = $1 AND partition = $2", *tp)
    return Epochs(sorted((row[0], row[1]) for row in rows))


async def begin(tx: Tx, tp: TopicPartition) -> int:
    """Begin a new epoch at the head of a partition. Returns its number. Does not commit. Raises NotFound."""
    row = await tx.fetchrow(
        "UPDATE log.heads SET epoch = epoch + 1 WHERE topic = $1 AND partition = $2 RETURNING epoch, next", *tp
    )
    if row is None:
        raise NotFound(f"there is no {tp}")
    await tx.execute(
        "INSERT INTO log.epochs (topic, partition, epoch, first) VALUES ($1, $2, $3, $4)", *tp, row[0], row[1]
    )
    return int(row[0])
