"""The base of a feature of rewards. Each feature is a room of its own, with the same furniture.

A feature brings a section of the programme, a part of the account, its decisions, how its part changes and merges, the
rows that routes query, and these routes. `features.py` lists the features.
"""

from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, tzinfo
from typing import Any, ClassVar, TypeAlias
from uuid import UUID

from fastapi import APIRouter

from libs.common.contracts.input import Input, Resource
from libs.common.contracts.records import Fact
from libs.common.db.pool import Tx
from libs.common.fold.decider import Applied
from libs.common.fold.handler import DeciderHandler
from libs.common.fold.sections import Wanted
from libs.common.fold.service import ConsumerService
from services.rewards.course import Course, Merging
from services.rewards.rules import Workspace
from services.rewards.validation import Fault

#: A section of the programme in force, its default when there is none.
Live: TypeAlias = Callable[[Tx], Awaitable[Any]]


class Feature:
    """The base of all features. It has no section and no state, and decides nothing.

    `decide`, `evolve` and `merge` are pure, except that `evolve` and `merge` change the feature's own part of the
    account; these two never fail. Only the ledger writes balances: other features ask the course for points.
    """

    #: The name of its part of the account, and of its section in the programme where `key` names no other.
    name: ClassVar[str]
    key: ClassVar[str] = ""
    #: The type of its section, and its default; None when it has none.
    section: ClassVar[Any] = None
    default: ClassVar[Any] = None
    #: The type of its part of the account (a msgspec Struct, made without arguments); None when it keeps nothing.
    state: ClassVar[Any] = None
    #: What it keeps in sections, by their kind; its `state` is then a `Sectioned`.
    sections: ClassVar[Mapping[str, Any]] = {}
    #: Whether its `standing` is counted over all customers; and the facts that change it.
    counted: ClassVar[bool] = False
    moved_by: ClassVar[tuple[type[Fact], ...]] = ()
    #: The tables that hold nothing but what follows from the journal, each with the columns that a replay compares.
    compared: ClassVar[tuple[Any, ...]] = ()

    #: The tables that hold something of a customer, each with a column `customer`: what an export shows and an erasure deletes.
    personal: ClassVar[tuple[str, ...]] = ()

    @property
    def section_key(self) -> str:
        """The key of its section in the programme."""
        return self.key or self.name

    # -- rules --------------------------------------------------------------------------------------------------------
    def faults(self, section: Any) -> Iterator[Fault]:
        """The faults of a section, beyond wrong types."""
        return iter(())

    def compile(self, section: Any, workspace: Workspace) -> Any:
        """The section in the form that `decide` uses."""
        return section

    def names(self, section: Any) -> Iterable[str]:
        """The names of events and facts that this feature reacts to."""
        return ()

    # -- what customers share -----------------------------------------------------------------------------------------
    def shared(self, rules: Any, body: Any, time: datetime, partition: int) -> Iterable[Resource]:
        """The shared resources that an input may draw on."""
        return ()

    def recorded(self, rules: Any, input: Input, facts: Sequence[Fact]) -> Mapping[Resource, int]:
        """For a replay: the view of these resources (`input.shared`) with which `decide` gave these facts."""
        return {}

    # -- one customer -------------------------------------------------------------------------------------------------
    def named(self, body: Any) -> Iterable[Wanted]:
        """The sections of the account that an input needs."""
        return ()

    def decide(self, state: Any, course: Course, rules: Any) -> Any:
        """Add to the course what follows from its input. Changes no state. The result is passed to `evolve`, and to
        projections as `decision.notes[name]`."""
        return None

    def evolve(self, state: Any, input: Input, facts: Sequence[Fact], note: Any) -> None:
        """Change this feature's part for an input, its facts, and the result of `decide`."""

    def merge(self, survivor: Any, other: Any, merging: Merging) -> None:
        """Take over another customer's part."""

    # -- what is queried ----------------------------------------------------------------------------------------------
    def standing(self, state: Any) -> dict[str, int]:
        """What the customer holds of this feature (badges, a level), with counts. It is stored in rows, and summed
        by day."""
        return {}

    def changes(self, fact: Fact, held: Mapping[str, int]) -> Iterable[tuple[str, int]]:
        """How a fact changes what a customer holds of this feature."""
        return ()

    async def project(self, tx: Tx, applied: Sequence[Applied[Any]], partitions: int, zone: tzinfo) -> None:
        """Write this feature's rows for all inputs of a batch, in their order. Does not commit."""

    async def keep(self, tx: Tx, customers: Sequence[UUID], partitions: int, zone: tzinfo) -> None:
        """Before these customers' rows are deleted by an erasure: move their share of sums over all customers to the partition
        `personal.KEPT`. Does not commit."""

    def shown(self, state: Any) -> dict[str, Any]:
        """The part that people see; a what-if compares it to find the customers who would be different."""
        return {}

    def api(self, part: ConsumerService, handler: DeciderHandler[Any, Any], live: Live) -> Sequence[APIRouter]:
        """The feature's routes. `live` reads its section of the programme in force."""
        return ()
