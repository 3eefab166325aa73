"""A decider: the rules of a service for one customer, as pure functions over one state."""

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
    """The result of `decide`: the facts that follow. A service's own Decision adds, with defaults, what `evolve` and
    projections need besides. A replay that has only the facts passes a Decision of these alone."""

    facts: list[Fact] = []
    #: How much more is taken of each shared resource.
    takes: dict[Resource, int] = {}


class Merged(msgspec.Struct, frozen=True):
    """The body of an input after which the customer has absorbed the state of `other`."""

    other: UUID


class Stamped(NamedTuple):
    """A fact with its record id and its stamp."""

    id: UUID
    fact: Fact
    stamp: str


class Applied(msgspec.Struct, Generic[S], frozen=True):
    """One applied input, from which projections are made. `state` is the customer's state after the whole batch (an
    empty one if the batch held only stateless inputs for them). `decision` is the service's own.

    `stamp` is the place of the input: partition, position, rulebook, and the number of facts decided on the customer
    before it.
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
    """The rules that a service gives to the fold. `decide` changes nothing, `evolve` and `absorb` never fail, and
    none of them reads a clock."""

    source: str
    state: type[S]
    #: The service's Decision; made without arguments it decides nothing.
    decision: type[Any]

    @property
    def sections(self) -> SectionKinds | None:
        """The kinds of sections of the state (see `sections`); None if there are none."""
        ...

    @property
    def shared(self) -> Draws[R] | None:
        """How the service draws on shared resources (see `shared`); None if it has none."""
        ...

    def read(self, envelope: Envelope, rules: R) -> Any | None:
        """Decode what this service needs of a record. None if the record can change nothing here under these rules:
        then its customer is not loaded. An exception makes the record poison."""
        ...

    def stateless(self, body: object, rules: R) -> bool:
        """Whether the body leads to no decision and changes no state, whatever the state is. Then the customer is
        neither loaded nor locked, nothing shared is drawn on, and only projections see it."""
        ...

    def decide(self, state: S, input: Input, rules: R) -> Decision:
        """What follows from `input`. Pure: it changes neither argument. It may look for sections that are not loaded
        (NotLoaded): the fold loads them and calls it again."""
        ...

    def evolve(self, state: S, input: Input, decision: Any) -> None:
        """Change `state` for the input and the decision. Never fails."""
        ...

    def absorb(self, survivor: S, other: S) -> None:
        """Merge `other` into `survivor`. Never fails."""
        ...

    async def rules(self, tx: "Tx", rulebook: int) -> R:
        """The rules of a rulebook. They are cached, because a rulebook never changes."""
        ...

    async def project(self, tx: "Tx", applied: list[Applied[S]]) -> None:
        """Write the rows that routes query, for all inputs of the batch, in their order. Does not commit."""
        ...
