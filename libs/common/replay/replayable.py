"""What a service says of itself, so that its state can be made again from the journal and be compared."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, NamedTuple, TypeVar
from uuid import UUID

import msgspec

from libs.common.db.pool import Tx
from libs.common.fold.handler import DeciderHandler

S = TypeVar("S")
R = TypeVar("R")


class Compared(NamedTuple):
    """A table of which `columns` (SQL expressions) must come out equal; `customer` is the column that says of whom.

    Of `sums` the sum over all rows that are alike in `columns` is compared: what is summed on read. `where` leaves out rows
    that say nothing. What is in neither cannot be the same: when a row was written, how often, and what became of it
    outside.
    """

    table: str
    columns: tuple[str, ...]
    customer: str | None = None
    where: str = "true"
    sums: tuple[str, ...] = ()


class Change(NamedTuple):
    """One customer in a what-if: what people see of them as it is, and as it would be."""

    customer: UUID
    now: dict[str, Any]
    then: dict[str, Any]


#: Gives the customers who would be different: (connection, live schema, shadow's schema).
Differences = Callable[[Tx, str, str], AsyncIterator[Change]]


@dataclass(frozen=True)
class Replayable(Generic[S, R]):
    """`state` are the tables that hold nothing but what follows from the journal: they are made anew, and swapped in by a
    rebuild. `outside` are written by the fold and changed by others (deliveries): made anew only to be compared.
    `only_read` are the service's own tables that its fold only looks into: a replay looks into the live ones.

    `commands` are the bodies, by their type's name, of those that cannot be made again from their facts; the SQL
    `commands_from` gives them as (customer, stamp, at, type, id, time, body).
    """

    service: str
    handler: DeciderHandler[S, R]
    state: tuple[str, ...]
    compared: tuple[Compared, ...]
    differences: Differences | None = None
    outside: tuple[str, ...] = ()
    only_read: tuple[str, ...] = ()
    commands: Mapping[str, type[msgspec.Struct]] = field(default_factory=dict)
    commands_from: str = ""
    #: Types of own facts that a what-if takes over from commands; None: all.
    kept_in_what_if: frozenset[str] | None = None
    #: Call it with partitions whose batches are written.
    written: Callable[[Sequence[int]], None] = lambda partitions: None
    #: Whether two facts, as they were recorded and as they are made now, are one decision though their bytes differ.
    same: Callable[[bytes, bytes], bool] = lambda recorded, made: False


#: The customers' own rows, alike in every service. `version` counts writes, which depends on how batches were cut.
CUSTOMERS = Compared(
    "customers", ("id", "state", "facts", "merged_into"), "id", "state <> '' OR facts > 0 OR merged_into IS NOT NULL"
)
#: Of services that have sections.
SECTIONS = Compared("sections", ("customer", "kind", "key", "value", "rank"), "customer")
IDENTIFIERS = Compared("identifiers", ("kind", "value", "customer", "version"))
