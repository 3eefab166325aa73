"""Epochs: a partition whose offsets had to be given out again, because the records that had them are lost, says so.

Each record in Kafka carries (epoch, offset). A reader that meets a higher epoch than its own follows it, back to the offset
at which that one begins. PostgreSQL keeps from which offset each epoch holds, as a rewound forwarder sends older ones, too.
"""

from bisect import bisect_right
from collections.abc import Sequence

from libs.common.db.pool import Tx
from libs.common.errors import NotFound
from libs.common.log.reader import TopicPartition


class Epochs:
    """The epochs of one partition: from which offset which one holds."""

    def __init__(self, begun: list[tuple[int, int]]) -> None:
        self._begun = begun

    def of(self, offset: int) -> tuple[int, int]:
        """The epoch of a record, and the offset at which it begins: of those that begin at or before it the newest."""
        held = bisect_right(self._begun, offset, key=lambda each: each[0])
        return max(((epoch, first) for first, epoch in self._begun[:held]), default=(0, 0))

    def headers(self, offset: int) -> Sequence[tuple[str, bytes]]:
        """What Kafka carries with a record."""
        epoch, since = self.of(offset)
        told = (("epoch", b"%d" % epoch), ("offset", b"%d" % offset))
        return (*told, ("since", b"%d" % since)) if epoch else told


async def load(tx: Tx, tp: TopicPartition) -> Epochs:
    """As they are now."""
    rows = await tx.fetch("SELECT first, epoch FROM log.epochs WHERE topic = $1 AND partition = $2", *tp)
    return Epochs(sorted((row[0], row[1]) for row in rows))


async def begin(tx: Tx, tp: TopicPartition) -> int:
    """Begin a new epoch at the head of a partition; its number. Does not commit. Raises NotFound."""
    row = await tx.fetchrow(
        "UPDATE log.heads SET epoch = epoch + 1 WHERE topic = $1 AND partition = $2 RETURNING epoch, next", *tp
    )
    if row is None:
        raise NotFound(f"there is no {tp}")
    await tx.execute(
        "INSERT INTO log.epochs (topic, partition, epoch, first) VALUES ($1, $2, $3, $4)", *tp, row[0], row[1]
    )
    return int(row[0])
