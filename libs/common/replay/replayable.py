"""What a service declares so that its state can be rebuilt from the journal and compared."""

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
    """A table to compare. `columns` (SQL expressions) must be equal after a replay; `customer` is the column of the
    customer.

    `sums` are columns to be summed over all rows with equal `columns`, as queries sum them. `where` leaves out empty
    rows. Columns in neither may differ: when and how often a row was written, and what happened to it outside the fold.
    """

    table: str
    columns: tuple[str, ...]
    customer: str | None = None
    where: str = "true"
    sums: tuple[str, ...] = ()


class Change(NamedTuple):
    """One customer in a what-if: what people see now, and what they would see then."""

    customer: UUID
    now: dict[str, Any]
    then: dict[str, Any]


#: Yields the customers that would differ, from (connection, live schema, shadow's schema).
Differences = Callable[[Tx, str, str], AsyncIterator[Change]]


@dataclass(frozen=True)
class Replayable(Generic[S, R]):
    """A service that can be replayed.

    `state` are the tables that follow from the journal alone; a rebuild swaps them in. `outside` are tables that the
    fold writes and others change (deliveries); they are replayed only to be compared. `only_read` are tables that the
    fold only reads; a replay reads the live ones.

    `taken_over` are tables that keep something of erased customers, so that a replay cannot make them again: it takes over the
    live rows, once anybody was erased. Of sums by partition it always takes over those of the partition `personal.KEPT`.

    `commands` are the bodies, by type name, of commands whose facts are not enough to replay them. The SQL
    `commands_from` selects them as (customer, stamp, at, type, id, time, body).
    """

    service: str
    handler: DeciderHandler[S, R]
    state: tuple[str, ...]
    compared: tuple[Compared, ...]
    differences: Differences | None = None
    outside: tuple[str, ...] = ()
    only_read: tuple[str, ...] = ()
    taken_over: tuple[str, ...] = ()
    commands: Mapping[str, type[msgspec.Struct]] = field(default_factory=dict)
    commands_from: str = ""
    #: Types of the commands' facts that a what-if keeps; None keeps all.
    kept_in_what_if: frozenset[str] | None = None
    #: Called with the partitions whose batches have been written.
    written: Callable[[Sequence[int]], None] = lambda partitions: None
    #: Whether two facts, the recorded one and the one decided now, are the same decision although their bytes differ.
    same: Callable[[bytes, bytes], bool] = lambda recorded, decided: False


#: The rows of customers. `version` is left out: it counts writes, which depend on the size of batches.
CUSTOMERS = Compared(
    "customers", ("id", "state", "facts", "merged_into"), "id", "state <> '' OR facts > 0 OR merged_into IS NOT NULL"
)
#: For services with sections.
SECTIONS = Compared("sections", ("customer", "kind", "key", "value", "rank"), "customer")
IDENTIFIERS = Compared("identifiers", ("kind", "value", "customer", "version"))
