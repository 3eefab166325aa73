"""A record of the journal as a service has parsed it, and a batch of them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple
from uuid import UUID

from libs.common.contracts.ids import parsed
from libs.common.contracts.profile import CustomerErased, CustomerMerged
from libs.common.contracts.records import Binding, Envelope
from libs.common.fold.batch import Batch


class ParsedRecord(NamedTuple):
    """A parsed record. `body` is None if it changes nothing here. `stateless`: it changes no customer's state."""

    customer: UUID
    envelope: Envelope
    body: object | None
    bindings: Sequence[Binding]
    stateless: bool = False


@dataclass(slots=True)
class Progress:
    """A parsed batch of one partition. `next` is the index of the first record that has not been applied yet, `erasures`
    are the erasures among the applied ones."""

    batch: Batch
    records: list[ParsedRecord]
    next: int = 0
    erasures: list[ParsedRecord] = field(default_factory=list)

    def customers(self) -> Iterator[UUID]:
        """The customers whose rows are needed."""
        for record in self.records:
            if record.body is not None and not record.stateless:
                yield record.customer
            if isinstance(record.body, CustomerMerged):
                yield parsed(record.body.other)
            if isinstance(record.body, CustomerErased):
                yield from erased_ids(record.body, record.customer)

    def bindings(self) -> Iterator[tuple[Binding, UUID]]:
        """The bindings of the applied records, each with its customer."""
        for record in self.records[: self.next]:
            for binding in record.bindings:
                yield binding, record.customer


def erased_ids(body: CustomerErased, customer: UUID) -> list[UUID]:
    """The customers whom a record erases: its own, and those who were merged into them."""
    return [customer, *map(parsed, body.also)]
