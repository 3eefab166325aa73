"""The interface between the fold's loop and a service: batches of records in, records out."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from libs.common.db.pipeline import AnyTx
from libs.common.db.pool import Tx
from libs.common.log.append import Outgoing
from libs.common.log.reader import Record, TopicPartition


@dataclass(frozen=True, slots=True)
class Batch:
    """Records of one partition, in order, and the rulebook that applies. `position` is the first record's offset."""

    tp: TopicPartition
    records: Sequence[Record]
    rulebook: int
    position: int

    def place(self, index: int) -> str:
        """Where the record at `index` is applied, as in a stamp: partition/position/rulebook.

        For a dead letter, this is where it is replayed, not where it failed.
        """
        return f"{self.tp.partition}/{self.position + index}/{self.rulebook}"


@dataclass(slots=True)
class Outcome:
    """The result of applying batches: records for the service's own topic, and callbacks for after the commit.

    `taken` names the partitions that stopped early, and how many of their records were applied: the next record waits
    for another partition (a merge waits for the other customer's `left`). All other partitions were applied whole.
    """

    outgoing: list[Outgoing] = field(default_factory=list)
    committed: list[Callable[[], None]] = field(default_factory=list)
    taken: dict[TopicPartition, int] = field(default_factory=dict)


class Handler(Protocol):
    """A service's part of the fold: changes the state for some batches, in the given transaction. Never commits."""

    async def apply(self, tx: AnyTx, batches: Sequence[Batch]) -> Outcome:
        """Apply batches of different partitions, all under one rulebook, each in its order.

        If `tx` is a pipeline, some writes may still be unsent when this returns.
        """
        ...

    async def skip(self, tx: Tx, record: Record) -> None:
        """`record` becomes a dead letter. Store what must not be lost (identifiers). Never raise for its content."""
        ...


class Blocked(Exception):
    """The record must wait for another partition."""
