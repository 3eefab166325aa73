"""A decider: what a service does for one customer, as pure functions over one state."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, Protocol, TypeVar
from uuid import UUID

import msgspec

from libs.common.contracts.records import Envelope, Fact

if TYPE_CHECKING:  # domains import this module, and know no database
    from libs.common.db.pool import Tx

S = TypeVar("S")
R = TypeVar("R")

#: A fact that lies deeper than this below an event is not decided: rules that start each other must end.
DEEPEST = 8


class Cause(msgspec.Struct, frozen=True):
    """One record or command, as a decider sees it. `body` is what the service read from its data.

    `time` is when it happened (business rules use it), `received` when we got it, `own` whether this very service
    decided it: then its effect on the state was applied when it was decided, and only rules are evaluated on it.
    """

    id: str
    type: str
    source: str
    time: datetime
    received: datetime
    depth: int
    own: bool
    traceparent: str | None
    body: Any


@dataclass(frozen=True, slots=True)
class Merged:
    """The body of a cause by which a customer has just absorbed the state of `other`.

    `noted` is what a service's `evolve` notes of this moment for its own projection, which sees states after the batch.
    """

    other: UUID
    noted: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)


class Stamped(NamedTuple):
    """A fact with the id, place and bytes that it goes into the log with."""

    id: UUID
    fact: Fact
    stamp: str


class Applied(msgspec.Struct, Generic[S], frozen=True):
    """One cause, applied: what projections (rows that are queried) are made from. `state` is the one after the batch (or an
    empty one, if all that happened to the customer in it was stateless).

    `stamp` says where it was: partition, position, rulebook, and how many facts were decided on the customer before.
    """

    customer: UUID
    state: S
    cause: Cause
    facts: list[Stamped]
    stamp: str = ""


class Decider(Protocol[S, R]):
    """What a service gives to the fold. `decide` changes nothing; `evolve` and `absorb` never fail; none has a clock."""

    source: str
    state: type[S]

    def read(self, envelope: Envelope, rules: R) -> Any | None:
        """What this service reads from a record's data; None when the record can change nothing here, under these rules:
        its customer is then not even loaded. An exception is poison."""
        ...

    def stateless(self, body: Any, rules: R) -> bool:
        """Whether, under these rules, nothing is decided on what was read, and it changes no state, whatever the state is:
        the customer is then neither loaded nor locked, and it only reaches projections."""
        ...

    def decide(self, state: S, cause: Cause, rules: R) -> list[Fact]:
        """What follows from `cause`. Pure: an exception leaves nothing behind."""
        ...

    def evolve(self, state: S, cause: Cause, facts: list[Fact]) -> None:
        """Change `state` for the cause and for what was decided. Total."""
        ...

    def absorb(self, survivor: S, other: S) -> None:
        """Take over the state of a customer who turned out to be the same person. Total."""
        ...

    async def rules(self, tx: "Tx", rulebook: int) -> R:
        """The rules of a rulebook (cached: a rulebook never changes)."""
        ...

    async def project(self, tx: "Tx", applied: list[Applied[S]]) -> None:
        """Write the rows that are queried, for all causes of the batch, in their order. Does not commit."""
        ...
