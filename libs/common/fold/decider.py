"""A decider: what a service does for one customer, as pure functions over one state."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, Protocol, TypeVar
from uuid import UUID

import msgspec

from libs.common.contracts.input import Input, Resource
from libs.common.contracts.records import Envelope, Fact
from libs.common.fold.sections import SectionKinds

if TYPE_CHECKING:  # domains import this module, and know no database
    from libs.common.db.pool import Tx

S = TypeVar("S")
R = TypeVar("R")

#: A fact that lies deeper than this below an event is not decided: rules that start each other must end.
DEEPEST = 8


class Decision(msgspec.Struct, kw_only=True):
    """What `decide` says: the facts that follow. A service's own Decision adds, with defaults, whatever else `evolve` and its
    projections need to know of what was decided. A replay that only has the facts passes them alone."""

    facts: list[Fact] = []
    #: How much more is taken of each shared resource.
    takes: dict[Resource, int] = {}


class Merged(msgspec.Struct, frozen=True):
    """The body of an input by which a customer has just absorbed the state of `other`."""

    other: UUID


class Stamped(NamedTuple):
    """A fact with the id, place and bytes that it goes into the log with."""

    id: UUID
    fact: Fact
    stamp: str


class Applied(msgspec.Struct, Generic[S], frozen=True):
    """One input, applied: what projections (rows that are queried) are made from. `state` is the one after the batch (or an
    empty one, if all that happened to the customer in it was stateless); `decision` is the service's own.

    `stamp` says where it was: partition, position, rulebook, and how many facts were decided on the customer before.
    """

    customer: UUID
    state: S
    input: Input
    decision: Any
    facts: list[Stamped]
    stamp: str = ""


class Draws(NamedTuple, Generic[R]):
    """How a service draws on shared resources (see `shared`). Both functions are pure."""

    #: Those that a body, which happened at a time, to a customer of a partition, may draw on under the rules.
    named: Callable[[Any, datetime, int, R], Iterable[Resource]]
    #: For a replay: `input.shared` as `decide` saw it when it gave these facts on the input.
    recorded: Callable[[Input, R, Sequence[Fact]], Mapping[Resource, int]]


class Decider(Protocol[S, R]):
    """What a service gives to the fold. `decide` changes nothing; `evolve` and `absorb` never fail; none has a clock."""

    source: str
    state: type[S]
    #: The service's Decision; made without arguments it decides nothing.
    decision: type[Any]

    @property
    def sections(self) -> SectionKinds | None:
        """What lies in sections of the state (`sections`); None where nothing does."""
        ...

    @property
    def shared(self) -> Draws[R] | None:
        """What it draws on together with other customers (`shared`); None where there is nothing."""
        ...

    def read(self, envelope: Envelope, rules: R) -> Any | None:
        """What this service reads from a record's data; None when the record can change nothing here, under these rules:
        its customer is then not even loaded. An exception is poison."""
        ...

    def stateless(self, body: object, rules: R) -> bool:
        """Whether, under these rules, nothing is decided on what was read, and it changes no state, whatever the state is:
        the customer is then neither loaded nor locked, it draws on nothing shared, and only reaches projections."""
        ...

    def decide(self, state: S, input: Input, rules: R) -> Decision:
        """What follows from `input`. Pure: it changes neither argument, and an exception leaves nothing behind. Asked again
        once sections are loaded that it looked for (NotLoaded)."""
        ...

    def evolve(self, state: S, input: Input, decision: Any) -> None:
        """Change `state` for the input and for what was decided. Total."""
        ...

    def absorb(self, survivor: S, other: S) -> None:
        """Take over the state of a customer who turned out to be the same person. Total."""
        ...

    async def rules(self, tx: "Tx", rulebook: int) -> R:
        """The rules of a rulebook (cached: a rulebook never changes)."""
        ...

    async def project(self, tx: "Tx", applied: list[Applied[S]]) -> None:
        """Write the rows that are queried, for all inputs of the batch, in their order. Does not commit."""
        ...
