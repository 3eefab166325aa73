"""The fold of a service that reads the journal: load the customers of a batch, decide and evolve in order, save."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, NamedTuple, TypeVar, cast
from uuid import UUID

import msgspec

from libs.common.contracts.ids import derived, parsed
from libs.common.contracts.input import Input, Resource
from libs.common.contracts.profile import CustomerLeft, CustomerMerged
from libs.common.contracts.records import Binding, Bound, Envelope, decode, encode
from libs.common.db.errors import UNAVAILABLE
from libs.common.db.pipeline import AnyTx, Pipeline, pipelined
from libs.common.db.pool import Tx
from libs.common.errors import Unavailable
from libs.common.fold.batch import Batch, Outcome
from libs.common.fold.customers import Customers, Row
from libs.common.fold.decider import DEEPEST, Applied, Decider, Merged, Stamped
from libs.common.fold.sections import Every, NotLoaded, Wanted
from libs.common.fold.shared import Shared, SharedTable
from libs.common.log.append import Outgoing
from libs.common.log.reader import Record

S = TypeVar("S")
R = TypeVar("R")

_left = msgspec.json.Decoder(CustomerLeft)
_merged = msgspec.json.Decoder(CustomerMerged)
_bound = msgspec.json.Decoder(Bound)


class ParsedRecord(NamedTuple):
    """A parsed record. `body` is None if it can change nothing here. `stateless`: it changes nothing in the
    customer's state."""

    customer: UUID
    envelope: Envelope
    body: object | None
    bindings: Sequence[Binding]
    stateless: bool = False


@dataclass(slots=True)
class Progress:
    """A parsed batch of one partition. Records before `next` are applied."""

    batch: Batch
    read: list[ParsedRecord]
    next: int = 0

    def customers(self) -> Iterator[UUID]:
        """The customers whose rows the batch needs."""
        for said in self.read:
            if said.body is not None and not said.stateless:
                yield said.customer
            if isinstance(said.body, CustomerMerged):
                yield parsed(said.body.other)

    def bindings(self) -> Iterator[tuple[Binding, UUID]]:
        """The identifiers that the applied records bind, with their customers."""
        for said in self.read[: self.next]:
            for binding in said.bindings:
                yield binding, said.customer


class DeciderHandler(Generic[S, R]):
    """Applies a Decider to batches of the journal, and to commands."""

    def __init__(self, service: str, decider: Decider[S, R]) -> None:
        self.decider = decider
        self.customers: Customers[S] = Customers(service, decider.state, decider.sections)
        self.shared: SharedTable[R] = SharedTable(service, decider.shared)
        self.suppressed = 0

    async def apply(self, tx: AnyTx, batches: Sequence[Batch]) -> Outcome:
        """Apply batches of different partitions in the given transaction. Each stops at a merge whose other customer
        has not left yet."""
        async with pipelined(tx) as pipeline:
            over = cast("Tx", pipeline)  # it has of a transaction what rules and projections use
            rules = await self.rules(over, batches[0].rulebook)
            partitions = [Progress(batch, [self._read(record, rules) for record in batch.records]) for batch in batches]
            shared = await self.shared.lock(pipeline, self._resources(partitions, rules))
            rows = await self.customers.load(pipeline, {id for partition in partitions for id in partition.customers()})
            if self.decider.sections is not None:
                await self.customers.load_sections(pipeline, self._named(partitions, rows, rules))
            applied = await self._decided(pipeline, partitions, rows, rules, shared)
            await self.customers.save(pipeline, rows.values())
            await self.shared.save(pipeline, shared)
            await self.customers.bind(over, [bound for partition in partitions for bound in partition.bindings()])
            await self.decider.project(over, applied)
        return Outcome(
            outgoing=[record for done in applied for record in self.outgoing(done)],
            committed=[lambda: self.customers.known(rows), lambda: self.shared.known(shared)],
            taken={
                partition.batch.tp: partition.next for partition in partitions if partition.next < len(partition.read)
            },
        )

    def _resources(self, partitions: Sequence["Progress"], rules: R) -> Iterator[Resource]:
        """The shared resources that the records of a batch may draw on."""
        for partition, said in (
            ()
            if self.decider.shared is None
            else ((one.batch.tp.partition, each) for one in partitions for each in one.read)
        ):
            body = Merged(parsed(said.body.other)) if isinstance(said.body, CustomerMerged) else said.body
            if body is not None and not said.stateless and not isinstance(body, CustomerLeft):
                yield from self.shared.named(body, said.envelope.time, partition, rules)

    def _named(
        self, partitions: Sequence["Progress"], rows: dict[UUID, Row[S]], rules: R
    ) -> Iterator[tuple[Row[S], Wanted]]:
        """The sections that the records of a batch name; for customers who are merged in it, all sections."""
        leaving = {
            each.customer for partition in partitions for each in partition.read if isinstance(each.body, CustomerLeft)
        }
        for partition in partitions:
            for said in partition.read:
                if isinstance(said.body, CustomerMerged):
                    other = rows[parsed(said.body.other)]
                    if other.merged_into is not None or other.id in leaving:  # else it waits
                        yield from ((row, Every()) for row in (rows[said.customer], other))
                elif said.body is not None and not said.stateless:
                    yield from self.named(rows[said.customer], said.body, rules)

    def named(self, row: Row[S], body: object, rules: R) -> Iterator[tuple[Row[S], Wanted]]:
        """The sections of a customer that a body names."""
        if self.decider.sections is not None:
            yield from ((row, each) for each in self.decider.sections.named(body, rules))

    async def _decided(
        self, pipeline: Pipeline, partitions: Sequence["Progress"], rows: dict[UUID, Row[S]], rules: R, shared: Shared
    ) -> list[Applied[S]]:
        """Apply all records in order. When `decide` looks for a section that is not loaded, load it and decide
        again."""
        applied: list[Applied[S]] = []
        while True:
            try:
                for each in self._through(partitions, rows, rules, shared):
                    applied.append(each)
                return applied
            except NotLoaded as missing:
                await self.customers.load_sections(pipeline, [(rows[missing.customer], missing.wanted)])

    async def decide_on(self, tx: AnyTx, row: Row[S], input: Input, rules: R, place: str) -> Applied[S]:
        """`decided` for a single input, with the sections that it needs."""
        await self.customers.load_sections(tx, self.named(row, input.body, rules))
        while True:
            try:
                return self.decided(row, input, rules, place)
            except NotLoaded as missing:
                await self.customers.load_sections(tx, [(row, missing.wanted)])

    async def share_on(self, tx: AnyTx, row: Row[S], input: Input, rules: R, place: str, shared: Shared) -> Applied[S]:
        """`decide_on` with a view of the shared resources, of which the decision's share is taken."""
        applied = await self.decide_on(tx, row, self.shared.viewed(input, rules, shared), rules, place)
        shared.take(applied.decision.takes)
        return applied

    def _through(
        self, partitions: Sequence["Progress"], rows: dict[UUID, Row[S]], rules: R, shared: Shared
    ) -> Iterator[Applied[S]]:
        """Apply each partition as far as possible. A partition that waits at a merge goes on once another partition
        has applied the `customer.left` that it waits for."""
        moved = True
        while moved:
            moved = False
            for partition in partitions:
                before = partition.next
                yield from self._along(partition, rows, rules, shared)
                moved |= partition.next > before
            partitions = [partition for partition in partitions if partition.next < len(partition.read)]

    def _along(self, partition: "Progress", rows: dict[UUID, Row[S]], rules: R, shared: Shared) -> Iterator[Applied[S]]:
        for index in range(partition.next, len(partition.read)):
            said = partition.read[index]
            body = said.body
            if isinstance(body, CustomerMerged):
                if (other := rows[parsed(body.other)]).merged_into is None:
                    return
                body = self._absorb(rows[said.customer], other)
            applied = None
            if isinstance(body, CustomerLeft):
                row = rows[said.customer]
                row.merged_into, row.touched = parsed(body.into), True
            elif body is not None:
                row = rows.get(said.customer) or Row(said.customer, self.decider.state())  # of a stateless one
                input = self._input(said.envelope, body, partition.batch.tp.partition)
                if not said.stateless:
                    input = self.shared.viewed(input, rules, shared)
                applied = self.decided(row, input, rules, partition.batch.place(index))
                shared.take(applied.decision.takes)
            partition.next = index + 1
            if applied is not None:
                yield applied

    async def skip(self, tx: Tx, record: Record) -> None:
        """Keep the identifiers that the record binds: no later record repeats them."""
        try:
            bindings = self._bindings(record, decode(record.value))
        except (msgspec.MsgspecError, ValueError, RecursionError):
            return  # it says nothing that can be read
        await self.customers.bind(tx, [(binding, UUID(record.key)) for binding in bindings])

    async def rules(self, tx: Tx, rulebook: int) -> R:
        """The rules of a rulebook. Raises Unavailable if they cannot be loaded, because that is not the record's
        fault."""
        try:
            return await self.decider.rules(tx, rulebook)
        except (Unavailable, *UNAVAILABLE):
            raise
        except Exception as error:
            raise Unavailable(f"rulebook {rulebook} cannot be read by this release: {error}") from error

    def decided(self, row: Row[S], input: Input, rules: R, place: str) -> Applied[S]:
        """Decide and evolve one input on a locked row. `place` is its place in the journal.

        Raises NotLoaded, before anything changes, if `decide` looks for sections that are not loaded.
        """
        if self.decider.stateless(input.body, rules):
            return Applied(row.id, row.state, input, self.decider.decision(), [], f"{place}/{row.facts}")
        if input.depth < DEEPEST:
            decision = self.decider.decide(row.state, input, rules)
        else:
            decision = self.decider.decision()
            self.suppressed += 1
        self.evolve(row, input, decision)
        stamp, stamped = f"{place}/{row.facts}", []
        for fact in decision.facts:
            row.facts += 1
            stamped.append(Stamped(derived(input.id, fact.TYPE, fact.effect), fact, f"{place}/{row.facts}"))
        return Applied(row.id, row.state, input, decision, stamped, stamp)

    def evolve(self, row: Row[S], input: Input, decision: Any) -> None:
        """Change a locked row's state. Raises RuntimeError if `evolve` looks for sections that `decide` did not look
        at."""
        try:
            self.decider.evolve(row.state, input, decision)
        except NotLoaded as missing:
            raise RuntimeError(f"evolve looks for what decide did not: {missing.wanted}") from missing
        row.touched = True

    def outgoing(self, applied: Applied[S]) -> list[Outgoing]:
        """The decided facts as records on the customer's key."""
        input, customer = applied.input, str(applied.customer)
        return [
            Outgoing(
                customer,
                encode(
                    id=str(stamped.id),
                    source=self.decider.source,
                    type=stamped.fact.TYPE,
                    time=input.time,
                    recordedtime=input.received,
                    subject=customer,
                    traceparent=input.traceparent,
                    causationid=input.id,
                    depth=input.depth + 1,
                    stamp=stamped.stamp,
                    data=stamped.fact,
                ),
                input.time,
            )
            for stamped in applied.facts
        ]

    def _absorb(self, row: Row[S], other: Row[S]) -> Merged:
        """Merge one customer's state into another's. Raises NotLoaded, before anything changes, unless all sections
        of both are loaded."""
        for each in (row, other):
            if each.sections is not None and not each.sections.has(Every()):
                raise NotLoaded(each.id, Every())
        self.decider.absorb(row.state, other.state)
        self.customers.empty(other)
        return Merged(other.id)

    def _read(self, record: Record, rules: R) -> "ParsedRecord":
        envelope = decode(record.value)
        customer, bindings = parsed(record.key), self._bindings(record, envelope)
        if envelope.type == CustomerLeft.TYPE:
            return ParsedRecord(customer, envelope, _left.decode(envelope.data), bindings)
        if envelope.type == CustomerMerged.TYPE:
            return ParsedRecord(customer, envelope, _merged.decode(envelope.data), bindings)
        body = self.decider.read(envelope, rules)
        return ParsedRecord(
            customer, envelope, body, bindings, body is not None and self.decider.stateless(body, rules)
        )

    def _bindings(self, record: Record, envelope: Envelope) -> Sequence[Binding]:
        if b'"bound":[' not in record.value:
            return ()
        return _bound.decode(envelope.data).customer.bound

    def _input(self, envelope: Envelope, body: object, partition: int) -> Input:
        return Input(
            id=envelope.id,
            type=envelope.type,
            source=envelope.source,
            time=envelope.time,
            received=envelope.recordedtime,
            depth=envelope.depth,
            own=envelope.source == self.decider.source,
            traceparent=envelope.traceparent,
            body=body,
            partition=partition,
        )


def command_input(
    source: str, type: str, id: str, at: datetime, body: object, traceparent: str | None, partition: int
) -> Input:
    """The input of a command: a REST call that changes a customer, at `at`."""
    return Input(id, type, source, at, at, 0, False, traceparent, body, partition)
