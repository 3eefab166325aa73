"""The fold of a service that reads the journal: load the customers of a batch, decide and evolve in order, save."""

from datetime import datetime
from typing import Generic, TypeVar
from uuid import UUID

import msgspec

from libs.common.db import UNAVAILABLE, Tx
from libs.common.errors import Unavailable
from libs.common.facts import CustomerLeft, CustomerMerged
from libs.common.fold.customers import Customers, Row
from libs.common.fold.decider import DEEPEST, Applied, Cause, Decider, Merged, Stamped
from libs.common.fold.work import Outcome, Waits, Work
from libs.common.ids import derived
from libs.common.log.append import Outgoing
from libs.common.log.reader import Record
from libs.common.records import Binding, Envelope, Fact, Journalled, decode, encode

S = TypeVar("S")
R = TypeVar("R")

_left = msgspec.json.Decoder(CustomerLeft)
_merged = msgspec.json.Decoder(CustomerMerged)
_journalled = msgspec.json.Decoder(Journalled)


class DeciderHandler(Generic[S, R]):
    """Applies a Decider to batches of the journal and to commands, alike."""

    def __init__(self, service: str, decider: Decider[S, R]) -> None:
        self.decider = decider
        self.customers: Customers[S] = Customers(service, decider.state)
        self.suppressed = 0

    async def apply(self, tx: Tx, work: Work) -> Outcome:
        """One batch, in the transaction given, up to a merge whose other customer has not left yet.

        Raises Waits when that is the first record.
        """
        rules = await self.rules(tx, work.rulebook)
        read = [self._read(record, rules) for record in work.records]
        await self.customers.bind(tx, [bound for _, _, bindings in read for bound in bindings])
        ids = {UUID(record.key) for record, (_, body, _) in zip(work.records, read, strict=True) if body is not None}
        ids |= {UUID(body.other) for _, body, _ in read if isinstance(body, CustomerMerged)}
        if not ids:
            return Outcome()
        rows = await self.customers.load(tx, ids)
        applied: list[Applied[S]] = []
        outcome = Outcome(committed=[lambda: self.customers.known(rows)])
        for index, (record, (envelope, body, _)) in enumerate(zip(work.records, read, strict=True)):
            if body is None:
                continue
            row = rows[UUID(record.key)]
            if isinstance(body, CustomerLeft):
                row.went_into, row.touched = UUID(body.into), True
                continue
            if isinstance(body, CustomerMerged):
                other = rows[UUID(body.other)]
                if other.went_into is None and index == 0:
                    raise Waits(f"{other.id} has not left yet")
                if other.went_into is None:
                    outcome.taken = index
                    break
                body = self._absorb(row, other)
            cause = self._cause(envelope, body)
            done = self.decided(row, cause, rules, work.place(index))
            applied.append(done)
            outcome.outgoing.extend(self.outgoing(done))
        await self.customers.save(tx, rows.values())
        await self.decider.project(tx, applied)
        return outcome

    async def pass_over(self, tx: Tx, record: Record) -> None:
        """Keep whom the record's identifiers lead to: no later record will say it again."""
        try:
            bindings = self._bindings(record, decode(record.value))
        except (msgspec.MsgspecError, ValueError, RecursionError):
            return  # it says nothing that can be read
        await self.customers.bind(tx, bindings)

    async def rules(self, tx: Tx, rulebook: int) -> R:
        """The rules of a rulebook. Raises Unavailable where they cannot be had: that is no fault of a record's."""
        try:
            return await self.decider.rules(tx, rulebook)
        except (Unavailable, *UNAVAILABLE):
            raise
        except Exception as error:
            raise Unavailable(f"rulebook {rulebook} cannot be read by this release: {error}") from error

    def decided(self, row: Row[S], cause: Cause, rules: R, place: str) -> Applied[S]:
        """Decide and evolve one cause on a locked row; `place` is where in the journal it happens."""
        facts: list[Fact] = []
        if cause.depth < DEEPEST:
            facts = self.decider.decide(row.state, cause, rules)
        else:
            self.suppressed += 1
        self.decider.evolve(row.state, cause, facts)
        row.touched = True
        stamp, stamped = f"{place}/{row.facts}", []
        for fact in facts:
            row.facts += 1
            stamped.append(Stamped(derived(cause.id, fact.TYPE, fact.effect), fact, f"{place}/{row.facts}"))
        return Applied(row.id, row.state, cause, stamped, stamp)

    def outgoing(self, applied: Applied[S]) -> list[Outgoing]:
        """What was decided, as records on the customer's key."""
        cause, customer = applied.cause, str(applied.customer)
        return [
            Outgoing(
                customer,
                encode(
                    id=str(stamped.id),
                    source=self.decider.source,
                    type=stamped.fact.TYPE,
                    time=cause.time,
                    recordedtime=cause.received,
                    subject=customer,
                    traceparent=cause.traceparent,
                    causationid=cause.id,
                    depth=cause.depth + 1,
                    stamp=stamped.stamp,
                    data=stamped.fact,
                ),
                cause.time,
            )
            for stamped in applied.facts
        ]

    def _absorb(self, row: Row[S], other: Row[S]) -> Merged:
        self.decider.absorb(row.state, other.state)
        other.state, other.touched = self.decider.state(), True
        return Merged(other.id)

    def _read(self, record: Record, rules: R) -> tuple[Envelope, object | None, list[tuple[Binding, UUID]]]:
        envelope = decode(record.value)
        bindings = self._bindings(record, envelope)
        if envelope.type == CustomerLeft.TYPE:
            return envelope, _left.decode(envelope.data), bindings
        if envelope.type == CustomerMerged.TYPE:
            return envelope, _merged.decode(envelope.data), bindings
        return envelope, self.decider.read(envelope, rules), bindings

    def _bindings(self, record: Record, envelope: Envelope) -> list[tuple[Binding, UUID]]:
        if b'"bound":[' not in record.value:
            return []
        customer = UUID(record.key)
        return [(binding, customer) for binding in _journalled.decode(envelope.data).customer.bound]

    def _cause(self, envelope: Envelope, body: object) -> Cause:
        return Cause(
            id=envelope.id,
            type=envelope.type,
            source=envelope.source,
            time=envelope.time,
            received=envelope.recordedtime,
            depth=envelope.depth,
            own=envelope.source == self.decider.source,
            traceparent=envelope.traceparent,
            body=body,
        )


def command_cause(source: str, type: str, id: str, at: datetime, body: object, traceparent: str | None) -> Cause:
    """The cause of a command: a REST call that changes a customer, at `at`."""
    return Cause(id, type, source, at, at, 0, False, traceparent, body)
