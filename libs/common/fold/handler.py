"""Applies batches of the journal for a service with a decider: load the customers, decide and evolve in order, save."""

from collections.abc import Iterator, Sequence
from typing import Any, Generic, TypeVar, cast
from uuid import UUID

import msgspec

from libs.common.contracts.ids import derived, parsed
from libs.common.contracts.input import Input, Resource
from libs.common.contracts.profile import CustomerErased, CustomerLeft, CustomerMerged, Redacted
from libs.common.contracts.records import BOUND_END, Binding, Bound, Envelope, decode, encode
from libs.common.db.errors import UNAVAILABLE
from libs.common.db.pipeline import AnyTx, Pipeline, pipelined
from libs.common.db.pool import Tx
from libs.common.errors import Unavailable
from libs.common.fold.batch import Batch, Outcome
from libs.common.fold.customers import NOBODY, Customers, Row
from libs.common.fold.decider import DEEPEST, Applied, Decider, Merged, Stamped
from libs.common.fold.parsed_record import ParsedRecord, Progress, erased_ids
from libs.common.fold.personal import Personal, erase
from libs.common.fold.sections import Every, NotLoaded, Wanted
from libs.common.fold.shared import Shared, SharedTable
from libs.common.log.append import Outgoing
from libs.common.log.reader import Record

S = TypeVar("S")
R = TypeVar("R")

_left = msgspec.json.Decoder(CustomerLeft)
_merged = msgspec.json.Decoder(CustomerMerged)
_erased = msgspec.json.Decoder(CustomerErased)
_bound = msgspec.json.Decoder(Bound)


class DeciderHandler(Generic[S, R]):
    """Applies a Decider to batches of the journal and to commands."""

    def __init__(self, service: str, decider: Decider[S, R], personal: Personal | None = None) -> None:
        """`personal` are the tables, beside those of the fold, with what the service holds of a customer."""
        self.decider = decider
        self.personal = personal or Personal()
        self.customers: Customers[S] = Customers(service, decider.state, decider.sections)
        self.shared: SharedTable[R] = SharedTable(service, decider.shared)
        self._service = service
        self.suppressed = 0

    async def apply(self, tx: AnyTx, batches: Sequence[Batch]) -> Outcome:
        """Apply batches of different partitions, in the given transaction. A partition stops at a merge whose other
        customer has not left yet, and before an erasure, which begins a batch."""
        async with pipelined(tx) as pipeline:
            as_tx = cast("Tx", pipeline)  # it has the methods that rules and projections use
            rules = await self.rules(as_tx, batches[0].rulebook)
            partitions = [Progress(batch, [self.parse(record, rules) for record in batch.records]) for batch in batches]
            shared = await self.shared.lock(pipeline, self._resources(partitions, rules))
            rows = await self.customers.load(pipeline, {id for partition in partitions for id in partition.customers()})
            if self.decider.sections is not None:
                await self.customers.load_sections(pipeline, self._named(partitions, rows, rules))
            applied = await self._apply_all(pipeline, partitions, rows, rules, shared)
            await self.customers.save(pipeline, rows.values())
            await self.shared.save(pipeline, shared)
            await self.customers.bind(as_tx, [bound for partition in partitions for bound in partition.bindings()])
            await self.decider.project(as_tx, applied)
            for record in (each for partition in partitions for each in partition.erasures):
                await erase(as_tx, self._service, self.personal, record)
        return Outcome(
            outgoing=[record for done in applied for record in self.outgoing(done)],
            committed=[lambda: self.customers.known(rows), lambda: self.shared.known(shared)],
            taken={
                partition.batch.tp: partition.next
                for partition in partitions
                if partition.next < len(partition.records)
            },
        )

    def _resources(self, partitions: Sequence["Progress"], rules: R) -> Iterator[Resource]:
        """The shared resources that the records of a batch may draw on."""
        if self.decider.shared is None:
            return
        for partition, record in ((each.batch.tp.partition, record) for each in partitions for record in each.records):
            body = Merged(parsed(record.body.other)) if isinstance(record.body, CustomerMerged) else record.body
            if body is not None and not record.stateless and not isinstance(body, CustomerLeft | CustomerErased):
                yield from self.shared.named(body, record.envelope.time, partition, rules)

    def _named(
        self, partitions: Sequence["Progress"], rows: dict[UUID, Row[S]], rules: R
    ) -> Iterator[tuple[Row[S], Wanted]]:
        """The sections that the records of a batch name; all sections of customers who are merged in it."""
        leaving = {
            each.customer
            for partition in partitions
            for each in partition.records
            if isinstance(each.body, CustomerLeft)
        }
        for partition in partitions:
            for record in partition.records:
                if isinstance(record.body, CustomerMerged):
                    other = rows[parsed(record.body.other)]
                    if other.merged_into is not None or other.id in leaving:  # otherwise the merge waits
                        yield from ((row, Every()) for row in (rows[record.customer], other))
                elif record.body is not None and not record.stateless and not isinstance(record.body, CustomerErased):
                    yield from self.named(rows[record.customer], record.body, rules)

    def named(self, row: Row[S], body: object, rules: R) -> Iterator[tuple[Row[S], Wanted]]:
        """The sections of a customer that a body names."""
        if self.decider.sections is not None:
            yield from ((row, each) for each in self.decider.sections.named(body, rules))

    async def _apply_all(
        self, pipeline: Pipeline, partitions: Sequence["Progress"], rows: dict[UUID, Row[S]], rules: R, shared: Shared
    ) -> list[Applied[S]]:
        """Apply all records. If `decide` needs a section that is not loaded, load it and call `decide` again."""
        applied: list[Applied[S]] = []
        while True:
            try:
                for each in self._apply_in_turns(partitions, rows, rules, shared):
                    applied.append(each)
                return applied
            except NotLoaded as missing:
                await self.customers.load_sections(pipeline, [(rows[missing.customer], missing.wanted)])

    async def load_and_apply(self, tx: AnyTx, row: Row[S], input: Input, rules: R, place: str) -> Applied[S]:
        """Load the sections that one input needs, then apply it."""
        await self.customers.load_sections(tx, self.named(row, input.body, rules))
        while True:
            try:
                return self.apply_input(row, input, rules, place)
            except NotLoaded as missing:
                await self.customers.load_sections(tx, [(row, missing.wanted)])

    async def apply_with_shared(
        self, tx: AnyTx, row: Row[S], input: Input, rules: R, place: str, shared: Shared
    ) -> Applied[S]:
        """`load_and_apply` with shared resources: `decide` sees them, and what it takes is booked in `shared`."""
        applied = await self.load_and_apply(tx, row, self.shared.viewed(input, rules, shared), rules, place)
        shared.take(applied.decision.takes)
        return applied

    def _apply_in_turns(
        self, partitions: Sequence["Progress"], rows: dict[UUID, Row[S]], rules: R, shared: Shared
    ) -> Iterator[Applied[S]]:
        """Apply each partition as far as possible, in turns, until none moves.

        A partition that stopped at a merge continues when another partition has applied the `left` that it waits for.
        """
        moved = True
        while moved:
            moved = False
            for partition in partitions:
                before = partition.next
                yield from self._apply_partition(partition, rows, rules, shared)
                moved |= partition.next > before
            partitions = [partition for partition in partitions if partition.next < len(partition.records)]

    def _apply_partition(
        self, partition: "Progress", rows: dict[UUID, Row[S]], rules: R, shared: Shared
    ) -> Iterator[Applied[S]]:
        for index in range(partition.next, len(partition.records)):
            record = partition.records[index]
            body = record.body
            if isinstance(body, CustomerMerged):
                if (other := rows[parsed(body.other)]).merged_into is None:
                    return
                body = self.absorb(rows[record.customer], other)
            applied = None
            if isinstance(body, CustomerErased):
                if index:  # the rows of the records before must be written first: it begins the next batch
                    return
                for id in erased_ids(body, record.customer):
                    self.customers.erase(rows[id])
                partition.erasures.append(record)
            elif isinstance(body, CustomerLeft):
                row = rows[record.customer]
                row.merged_into, row.touched = parsed(body.into), True
            elif body is not None:
                row = rows.get(record.customer) or Row(record.customer, self.decider.state())  # stateless: not loaded
                if row.merged_into != NOBODY:
                    input = self.input_of(record.envelope, body, partition.batch.tp.partition)
                    if not record.stateless:
                        input = self.shared.viewed(input, rules, shared)
                    applied = self.apply_input(row, input, rules, partition.batch.place(index))
                    shared.take(applied.decision.takes)
            partition.next = index + 1
            if applied is not None:
                yield applied

    async def skip(self, tx: Tx, record: Record) -> None:
        """Store the bindings of a record that becomes a dead letter, because no later record repeats them."""
        try:
            bindings = self._bindings(record, decode(record.value))
        except (msgspec.MsgspecError, ValueError, RecursionError):
            return  # unreadable, so it has no bindings
        await self.customers.bind(tx, [(binding, UUID(record.key)) for binding in bindings])

    async def rules(self, tx: Tx, rulebook: int) -> R:
        """The rules of a rulebook. Raises Unavailable if they cannot be loaded, because that is no record's fault."""
        try:
            return await self.decider.rules(tx, rulebook)
        except (Unavailable, *UNAVAILABLE):
            raise
        except Exception as error:
            raise Unavailable(f"rulebook {rulebook} cannot be read by this release: {error}") from error

    def apply_input(self, row: Row[S], input: Input, rules: R, place: str) -> Applied[S]:
        """Decide and evolve one input on a locked row; `place` is its place in the journal (`Batch.place`).

        Raises NotLoaded, before anything has changed, if `decide` needs a section that is not loaded.
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
        """Change a locked row's state. Raises RuntimeError if `evolve` needs a section that `decide` did not load."""
        try:
            self.decider.evolve(row.state, input, decision)
        except NotLoaded as missing:
            raise RuntimeError(f"evolve uses a section that decide did not load: {missing.wanted}") from missing
        row.touched = True

    def outgoing(self, applied: Applied[S]) -> list[Outgoing]:
        """The facts of an applied input, as records with the customer's key."""
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
                    imported=input.imported,
                    data=stamped.fact,
                ),
                input.time,
            )
            for stamped in applied.facts
        ]

    def absorb(self, row: Row[S], other: Row[S]) -> Merged:
        """Move the state of `other` into `row`'s. Raises NotLoaded, before anything has changed, unless all sections of
        both are loaded."""
        for each in (row, other):
            if each.sections is not None and not each.sections.has(Every()):
                raise NotLoaded(each.id, Every())
        self.decider.absorb(row.state, other.state)
        self.customers.empty(other)
        return Merged(other.id)

    def parse(self, record: Record, rules: R) -> ParsedRecord:
        """Decode a record. An exception makes the record poison."""
        envelope = decode(record.value)
        customer, bindings = parsed(record.key), self._bindings(record, envelope)
        if envelope.type == Redacted.TYPE:
            return ParsedRecord(customer, envelope, None, ())
        if envelope.type == CustomerErased.TYPE:
            return ParsedRecord(customer, envelope, _erased.decode(envelope.data), ())
        if envelope.type == CustomerLeft.TYPE:
            return ParsedRecord(customer, envelope, _left.decode(envelope.data), bindings)
        if envelope.type == CustomerMerged.TYPE:
            return ParsedRecord(customer, envelope, _merged.decode(envelope.data), bindings)
        body = self.decider.read(envelope, rules)
        return ParsedRecord(
            customer, envelope, body, bindings, body is not None and self.decider.stateless(body, rules)
        )

    def _bindings(self, record: Record, envelope: Envelope) -> Sequence[Binding]:
        if not record.value.endswith(BOUND_END):
            return ()
        return _bound.decode(envelope.data).customer.bound

    def input_of(self, envelope: Envelope, body: object, partition: int) -> Input:
        """The input that a record gives, with the body that `parse` found in it."""
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
            imported=envelope.imported,
        )
