"""The steps of one batch of a replay, on loaded rows: first put back what is due for the customer, then the record."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Generic, TypeVar
from uuid import UUID

import msgspec

from libs.common.contracts.input import Input, command_input
from libs.common.contracts.profile import JOURNAL, CustomerErased, CustomerLeft, CustomerMerged
from libs.common.contracts.records import Binding, decode
from libs.common.contracts.registry import BY_TYPE
from libs.common.fold.customers import Row
from libs.common.fold.decider import Applied, Stamped
from libs.common.fold.parsed_record import ParsedRecord, erased_ids
from libs.common.fold.personal import forget
from libs.common.fold.sections import Every
from libs.common.log.reader import Record
from libs.common.replay.out_of_band import OutOfBand

if TYPE_CHECKING:
    from libs.common.replay.replay import Replay

S = TypeVar("S")
R = TypeVar("R")


class Steps(Generic[S, R]):
    """`due` holds each customer's out-of-band changes, in order; `rules` the rules of every rulebook needed."""

    def __init__(
        self,
        replay: "Replay[S, R]",
        rows: Mapping[UUID, Row[S]],
        due: Mapping[UUID, list[OutOfBand]],
        rules: Mapping[int, R],
    ) -> None:
        self._replay = replay
        self._handler = replay.handler
        self._rows = rows
        self._due = {customer: list(reversed(these)) for customer, these in due.items()}
        self._rules = rules
        self.applied: list[Applied[S]] = []
        #: The changes that were put back, and the bindings that came with them.
        self.done: list[OutOfBand] = []
        self.bound: list[tuple[Binding, UUID]] = []

    async def apply(self, record: Record, parsed: ParsedRecord, rulebook: int) -> bool:
        """Apply one record. False means that it must wait for a customer who has not left yet."""
        row, body = self._rows[parsed.customer], parsed.body
        if isinstance(body, CustomerLeft):
            await self.put_back(row)  # all that remains: nothing happens to this customer from here on
            row.merged_into, row.touched = UUID(body.into), True
            return True
        if isinstance(body, CustomerErased):
            await self._erase(erased_ids(body, row.id))
            return True
        if isinstance(body, CustomerMerged):
            if (other := self._rows[UUID(body.other)]).merged_into is None:
                return False
            await self.put_back(row, record, parsed)
            await self._load_all(row, other)
            body = self._handler.absorb(row, other)
        else:
            await self.put_back(row, record, parsed)
        await self._decide(row, parsed, body, rulebook, record)
        return True

    async def _erase(self, customers: Sequence[UUID]) -> None:
        """Erase customers. The shadow has rows of theirs only if they were erased after their records were replayed."""
        tables = [each for each in self._handler.personal.tables if each in self._replay.shadow.tables]
        for id in customers:
            self._handler.customers.erase(self._rows[id])
        self.bound = [(binding, id) for binding, id in self.bound if id not in customers]
        await self._replay.project(self.applied)
        self.applied = []
        service = self._replay.replayable.service
        await forget(self._replay.service_tx, service, self._handler.personal, customers, ("identifiers", *tables))

    async def skip(self, record: Record, parsed: ParsedRecord) -> None:
        """Skip a record that changes nothing under these rules, and drop the facts once decided on it."""
        if (row := self._rows.get(parsed.customer)) is not None:
            await self.put_back(row, record, parsed)
            self._take_recorded(row, record, parsed)

    async def put_back(self, row: Row[S], record: Record | None = None, parsed: ParsedRecord | None = None) -> None:
        """Put back a customer's out-of-band changes before this record; without a record, all of them."""
        due = self._due.get(row.id, [])
        while due:
            change = due[-1]
            if record and parsed and (change.position > record.offset or _follows(change, record.offset, parsed)):
                return
            self.done.append(due.pop())
            match change.kind:
                case "fact":
                    await self._put_back_fact(row, change)
                case "record":
                    await self._put_back_record(row, change)
                case _:
                    await self._put_back_command(row, change)

    async def _put_back_fact(self, row: Row[S], change: OutOfBand) -> None:
        """Put back a command's fact: evolve the state by it."""
        row.facts, row.touched = change.sequence, True
        if self._replay.puts_back(change):
            input, stamped = recorded_fact(change)
            await self._evolve(row, input, [stamped])

    async def _put_back_command(self, row: Row[S], change: OutOfBand) -> None:
        """Put back a stored command, with its facts."""
        type, id, time = change.type or "", change.id or "", change.time or change.at
        body = msgspec.json.decode(change.value, type=self._replay.replayable.commands[type])
        partition = self._replay.journal.partition_of(row.id)
        facts = []
        due = self._due.get(row.id, [])
        while due and due[-1].kind == "fact" and due[-1].id == id:
            facts.append(recorded_fact(due[-1])[1])
            row.facts = due.pop().sequence
        await self._evolve(
            row, command_input(self._handler.decider.source, type, id, time, body, None, partition), facts
        )

    async def _put_back_record(self, row: Row[S], change: OutOfBand) -> None:
        """Put back a replayed dead letter."""
        partition = self._replay.journal.partition_of(row.id)
        record = Record(JOURNAL, partition, change.position, str(row.id), change.value, change.at, change.position)
        parsed = self._replay.parse(record, self._rules[change.rulebook])
        self.bound.extend((binding, row.id) for binding in parsed.bindings)
        if parsed.body is not None:
            await self._decide(row, parsed, parsed.body, change.rulebook, record)

    async def _decide(self, row: Row[S], parsed: ParsedRecord, body: object, rulebook: int, record: Record) -> None:
        replay, before = self._replay, row.facts
        recorded = self._take_recorded(row, record, parsed)
        row.facts = before
        input = replay.viewed(
            self._handler.input_of(parsed.envelope, body, record.partition), self._rules[rulebook], recorded
        )
        place = f"{record.partition}/{record.offset}/{rulebook}"
        try:
            decided = await replay.decide(row, parsed, input, self._rules[rulebook], place)
        except Exception as error:
            raise replay.failed(record, error) from error
        self.applied.extend(decided)
        replay.compare_facts(recorded, decided)
        row.facts = recorded[-1].sequence if recorded else before  # the log's count, even if the facts differ

    def _take_recorded(self, row: Row[S], record: Record, parsed: ParsedRecord) -> list[OutOfBand]:
        """Take the facts that the log has for a record out of `due`, and count them in the row."""
        due, recorded = self._due.get(row.id, []), []
        while due and _follows(due[-1], record.offset, parsed):
            recorded.append(due.pop())
            row.facts, row.touched = recorded[-1].sequence, True
        return recorded

    async def _evolve(self, row: Row[S], input: Input, facts: list[Stamped]) -> None:
        decision = self._handler.decider.decision(facts=[each.fact for each in facts])
        await self._load_all(row)  # without `decide`, the needed ones are not known
        self._handler.evolve(row, input, decision)
        self.applied.append(Applied(row.id, row.state, input, decision, facts))

    async def _load_all(self, *rows: Row[S]) -> None:
        """Load all sections of customers."""
        await self._handler.customers.load_sections(self._replay.service_tx, [(row, Every()) for row in rows])


def _follows(change: OutOfBand, offset: int, parsed: ParsedRecord) -> bool:
    """Whether a fact was decided on this record, at this place.

    The place alone is not enough: a command just before may have the same one. The cause alone is not enough either: a
    delivery's result has the queued message's fact as its cause, and may be recorded just before that fact is folded.
    So place, cause and the time of receipt must all match.
    """
    if change.kind != "fact" or change.position != offset or change.id != parsed.envelope.id:
        return False
    return decode(change.value).recordedtime == parsed.envelope.recordedtime


def recorded_fact(change: OutOfBand) -> tuple[Input, Stamped]:
    """A fact from the log, with its input as far as the fact tells."""
    envelope = decode(change.value)
    fact = msgspec.json.decode(envelope.data, type=BY_TYPE[envelope.type])
    input = Input(
        id=envelope.causationid or "",
        type="",
        source=envelope.source,
        time=envelope.time,
        received=envelope.recordedtime,
        depth=envelope.depth - 1,
        own=False,
        traceparent=envelope.traceparent,
        body=None,
        imported=envelope.imported,
    )
    return input, Stamped(UUID(envelope.id), fact, envelope.stamp or "")
