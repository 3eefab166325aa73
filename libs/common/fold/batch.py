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
        """The place at which the record at `index` is applied: partition, position and rulebook, as in a stamp. For
        a dead letter that is the place of its replay."""
        return f"{self.tp.partition}/{self.position + index}/{self.rulebook}"


@dataclass(slots=True)
class Outcome:
    """The result of a few batches: records for the service's own topic, and callbacks to run after the commit (they
    fill caches).

    `taken` holds, for each partition that stopped early, the number of records it applied. A partition stops early at a
    merge whose other customer has not left yet. All other partitions were applied whole.
    """

    outgoing: list[Outgoing] = field(default_factory=list)
    committed: list[Callable[[], None]] = field(default_factory=list)
    taken: dict[TopicPartition, int] = field(default_factory=dict)


class Handler(Protocol):
    """A service's part of the fold: it changes the state for a few batches, in the given transaction. It never
    commits."""

    async def apply(self, tx: AnyTx, batches: Sequence[Batch]) -> Outcome:
        """Apply batches of different partitions, each in its order, all under one rulebook. Writes may still wait in
        the pipeline when it returns."""
        ...

    async def skip(self, tx: Tx, record: Record) -> None:
        """`record` becomes a dead letter. Keep what no later record repeats; do not raise over its content."""
        ...


class Blocked(Exception):
    """The record must wait for another partition."""
