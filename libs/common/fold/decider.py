"""A decider: a service's rules for one customer, as pure functions over one state."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, Protocol, TypeVar
from uuid import UUID

import msgspec

from libs.common.contracts.input import Input, Resource
from libs.common.contracts.records import Envelope, Fact
from libs.common.fold.sections import SectionKinds

if TYPE_CHECKING:  # domain code imports this module and must not load the database
    from libs.common.db.pool import Tx

S = TypeVar("S")
R = TypeVar("R")

#: From this depth below an event on, nothing more is decided, so rules that start each other end.
DEEPEST = 8


class Decision(msgspec.Struct, kw_only=True):
    """The result of `decide`: the facts that follow.

    A service's subclass adds what else `evolve` and projections need. Each such field has a default, because a replay
    may have only the facts.
    """

    facts: list[Fact] = []
    #: The amount to take from each shared resource.
    takes: dict[Resource, int] = {}


class Merged(msgspec.Struct, frozen=True):
    """The body of an input after a merge: the customer has just absorbed the state of `other`."""

    other: UUID


class Stamped(NamedTuple):
    """A fact with the id and stamp that it has in the log."""

    id: UUID
    fact: Fact
    stamp: str


class Applied(msgspec.Struct, Generic[S], frozen=True):
    """One applied input; projections are written from it.

    `state` is the customer's state after the whole batch; it is empty if all the customer's inputs were stateless.
    `decision` is the service's own Decision. `stamp` says where the input was applied: partition, position, rulebook,
    and the number of facts decided on the customer before it.
    """

    customer: UUID
    state: S
    input: Input
    decision: Any
    facts: list[Stamped]
    stamp: str = ""


class Draws(NamedTuple, Generic[R]):
    """How a service draws on shared resources (see `shared`). Both functions are pure."""

    #: The resources that a body of that time, for a customer of that partition, may draw on under the rules.
    named: Callable[[Any, datetime, int, R], Iterable[Resource]]
    #: For a replay: rebuilds `input.shared` as `decide` saw it, from the facts that it gave.
    recorded: Callable[[Input, R, Sequence[Fact]], Mapping[Resource, int]]


class Decider(Protocol[S, R]):
    """A service's rules. `decide` changes nothing; `evolve` and `absorb` never fail; none of them reads a clock."""

    source: str
    state: type[S]
    #: The service's Decision class; without arguments it means "nothing was decided".
    decision: type[Any]

    @property
    def sections(self) -> SectionKinds | None:
        """The kinds of sections in the state (see `sections`); None if there are none."""
        ...

    @property
    def shared(self) -> Draws[R] | None:
        """How it draws on shared resources (see `shared`); None if it uses none."""
        ...

    def read(self, envelope: Envelope, rules: R) -> Any | None:
        """Decode what this service needs from a record's data.

        None means that the record changes nothing here under these rules; its customer is then not loaded. An exception
        makes the record poison.
        """
        ...

    def stateless(self, body: object, rules: R) -> bool:
        """Whether, under these rules, `body` leads to no decision and changes no state, whatever the state is.

        The customer is then neither loaded nor locked, no shared resource is used, and only projections see the input.
        """
        ...

    def decide(self, state: S, input: Input, rules: R) -> Decision:
        """What follows from `input`. Pure: it changes no argument, and if it raises, nothing is stored.

        If it raises NotLoaded, the fold loads the sections and calls it again.
        """
        ...

    def evolve(self, state: S, input: Input, decision: Any) -> None:
        """Change `state` according to the input and the decision. Never fails."""
        ...

    def absorb(self, survivor: S, other: S) -> None:
        """Take over the state of a customer who turned out to be the same person. Never fails."""
        ...

    async def rules(self, tx: "Tx", rulebook: int) -> R:
        """The rules of a rulebook. May be cached, because a rulebook never changes."""
        ...

    async def project(self, tx: "Tx", applied: list[Applied[S]]) -> None:
        """Write the rows that routes query, for all inputs of the batch, in order. Does not commit."""
        ...
