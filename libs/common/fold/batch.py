"""What passes between the loop and a service: batches of records in, records out."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from libs.common.db.pipeline import AnyTx
from libs.common.db.pool import Tx
from libs.common.log.append import Outgoing
from libs.common.log.reader import Record, TopicPartition


@dataclass(frozen=True, slots=True)
class Batch:
    """A batch of one partition: `records` in order, under a `rulebook`; `position` is the offset it starts at."""

    tp: TopicPartition
    records: Sequence[Record]
    rulebook: int
    position: int

    def place(self, index: int) -> str:
        """Where the record at `index` is applied: partition, position and rulebook, as a stamp says it. A dead letter's
        is where it is replayed, not where it died."""
        return f"{self.tp.partition}/{self.position + index}/{self.rulebook}"


@dataclass(slots=True)
class Outcome:
    """What batches led to: records for the service's own topic, and what to do once they are committed (fill caches).

    `taken` says how many records of a partition were taken, where the next one must wait for another partition (a merge
    for the other customer's `left`); of the others all were.
    """

    outgoing: list[Outgoing] = field(default_factory=list)
    committed: list[Callable[[], None]] = field(default_factory=list)
    taken: dict[TopicPartition, int] = field(default_factory=dict)


class Handler(Protocol):
    """A service's part of the fold: change the state for a few batches, in the transaction given. Never commits."""

    async def apply(self, tx: AnyTx, batches: Sequence[Batch]) -> Outcome:
        """Apply batches of different partitions, all under one rulebook, each in its order. What a pipeline is given to write
        may wait there."""
        ...

    async def skip(self, tx: Tx, record: Record) -> None:
        """`record` becomes a dead letter: keep what must not be missed even so, and raise nothing over what it holds."""
        ...


class Blocked(Exception):
    """The record must wait for another partition."""
