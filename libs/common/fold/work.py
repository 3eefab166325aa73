"""What passes between the loop and a service: a batch of records in, records out."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from libs.common.db import Tx
from libs.common.log.append import Outgoing
from libs.common.log.reader import Record, Where


@dataclass(frozen=True, slots=True)
class Work:
    """A batch of one partition: `records` in order, under a `rulebook`; `position` is the offset it starts at."""

    where: Where
    records: Sequence[Record]
    rulebook: int
    position: int

    def place(self, index: int) -> str:
        """Where the record at `index` is applied: partition, position and rulebook, as a stamp says it. A dead letter's
        is where it is replayed, not where it died."""
        return f"{self.where.partition}/{self.position + index}/{self.rulebook}"


@dataclass(slots=True)
class Outcome:
    """What a batch led to: records for the service's own topic, and what to do once it is committed (fill caches).

    `taken` says how many records were taken, when the next one must wait; None: all of them.
    """

    outgoing: list[Outgoing] = field(default_factory=list)
    committed: list[Callable[[], None]] = field(default_factory=list)
    taken: int | None = None


class Handler(Protocol):
    """A service's part of the fold: change the state for a batch, in the transaction given. Never commits."""

    async def apply(self, tx: Tx, work: Work) -> Outcome: ...

    async def pass_over(self, tx: Tx, record: Record) -> None:
        """`record` becomes a dead letter: keep what must not be missed even so, and raise nothing over what it holds."""
        ...


class Waits(Exception):
    """The first record of the batch must wait for another partition: a merge for the other customer's `left`."""
