"""The steps of one batch of a replay, on loaded rows: of each customer first what is due, then the record."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Generic, TypeVar
from uuid import UUID

import msgspec

from libs.common.contracts.input import Input
from libs.common.contracts.profile import JOURNAL, CustomerLeft, CustomerMerged
from libs.common.contracts.records import Binding, decode
from libs.common.contracts.registry import BY_TYPE
from libs.common.fold.customers import Row
from libs.common.fold.decider import Applied, Stamped
from libs.common.fold.handler import ParsedRecord, command_input
from libs.common.fold.sections import Every
from libs.common.log.reader import Record
from libs.common.replay.out_of_band import OutOfBand

if TYPE_CHECKING:
    from libs.common.replay.replay import Replay

S = TypeVar("S")
R = TypeVar("R")


class Steps(Generic[S, R]):
    """`due` is what happened to each customer beside the journal, in order; `rules` those of every rulebook needed."""

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
        #: What was put back, and identifiers that came with it.
        self.done: list[OutOfBand] = []
        self.bound: list[tuple[Binding, UUID]] = []

    async def apply(self, record: Record, said: ParsedRecord, rulebook: int) -> bool:
        """One record; False when it must wait for a customer who has not left yet."""
        row, body = self._rows[said.customer], said.body
        if isinstance(body, CustomerLeft):
            await self.put_back(row)  # whatever there is: nothing happens to them from here on
            row.merged_into, row.touched = UUID(body.into), True
            return True
        if isinstance(body, CustomerMerged):
            if (other := self._rows[UUID(body.other)]).merged_into is None:
                return False
            await self.put_back(row, record, said)
            await self._load_all(row, other)
            body = self._handler._absorb(row, other)
        else:
            await self.put_back(row, record, said)
        await self._decide(row, said, body, rulebook, record)
        return True

    async def skip(self, record: Record, said: ParsedRecord) -> None:
        """A record that can do nothing under these rules; what was once decided on it is forgotten."""
        if (row := self._rows.get(said.customer)) is not None:
            await self.put_back(row, record, said)
            self._told(row, record, said)

    async def put_back(self, row: Row[S], record: Record | None = None, said: ParsedRecord | None = None) -> None:
        """What was done to a customer beside the journal before this record; without one, all."""
        due = self._due.get(row.id, [])
        while due:
            beside = due[-1]
            if record and said and (beside.position > record.offset or _follows(beside, record.offset, said)):
                return
            self.done.append(due.pop())
            match beside.kind:
                case "fact":
                    await self._put_back_fact(row, beside)
                case "record":
                    await self._put_back_record(row, beside)
                case _:
                    await self._put_back_command(row, beside)

    async def _put_back_fact(self, row: Row[S], beside: OutOfBand) -> None:
        """A fact that a command led to: it changes the state as it did."""
        row.facts, row.touched = beside.sequence, True
        if self._replay.puts_back(beside):
            input, stamped = remembered(beside)
            await self._evolve(row, input, [stamped])

    async def _put_back_command(self, row: Row[S], beside: OutOfBand) -> None:
        """A command that was kept, with the facts that it led to."""
        type, id, time = beside.type or "", beside.id or "", beside.time or beside.at
        body = msgspec.json.decode(beside.value, type=self._replay.replayable.commands[type])
        partition = self._replay.journal.partition_of(row.id)
        facts = []
        due = self._due.get(row.id, [])
        while due and due[-1].kind == "fact" and due[-1].id == id:
            facts.append(remembered(due[-1])[1])
            row.facts = due.pop().sequence
        await self._evolve(
            row, command_input(self._handler.decider.source, type, id, time, body, None, partition), facts
        )

    async def _put_back_record(self, row: Row[S], beside: OutOfBand) -> None:
        """A dead letter, where it was replayed."""
        partition = self._replay.journal.partition_of(row.id)
        record = Record(JOURNAL, partition, beside.position, str(row.id), beside.value, beside.at, beside.position)
        said = self._replay.read(record, self._rules[beside.rulebook])
        self.bound.extend((binding, row.id) for binding in said.bindings)
        if said.body is not None:
            await self._decide(row, said, said.body, beside.rulebook, record)

    async def _decide(self, row: Row[S], said: ParsedRecord, body: object, rulebook: int, record: Record) -> None:
        replay, before = self._replay, row.facts
        told = self._told(row, record, said)
        row.facts = before
        input = replay.viewed(self._handler._input(said.envelope, body, record.partition), self._rules[rulebook], told)
        place = f"{record.partition}/{record.offset}/{rulebook}"
        try:
            made = await replay.decided(row, said, input, self._rules[rulebook], place)
        except Exception as error:
            raise replay.failed(record, error) from error
        self.applied.extend(made)
        replay.compare_facts(told, made)
        row.facts = told[-1].sequence if told else before  # as the log counts them, also where it differs

    def _told(self, row: Row[S], record: Record, said: ParsedRecord) -> list[OutOfBand]:
        """The facts that the log has of a record; the row counts them."""
        due, told = self._due.get(row.id, []), []
        while due and _follows(due[-1], record.offset, said):
            told.append(due.pop())
            row.facts, row.touched = told[-1].sequence, True
        return told

    async def _evolve(self, row: Row[S], input: Input, facts: list[Stamped]) -> None:
        decision = self._handler.decider.decision(facts=[each.fact for each in facts])
        await self._load_all(row)  # nothing is decided that could ask for them
        self._handler.evolve(row, input, decision)
        self.applied.append(Applied(row.id, row.state, input, decision, facts))

    async def _load_all(self, *rows: Row[S]) -> None:
        """All sections of customers."""
        await self._handler.customers.load_sections(self._replay.over, [(row, Every()) for row in rows])


def _follows(beside: OutOfBand, offset: int, said: ParsedRecord) -> bool:
    """Whether a fact was decided on this very record, at this very place.

    A command may have been stamped with the same place, just before. What became of a message follows from a fact, too,
    and may be recorded when that very fact is about to be folded: so when it was received counts as well.
    """
    if beside.kind != "fact" or beside.position != offset or beside.id != said.envelope.id:
        return False
    return decode(beside.value).recordedtime == said.envelope.recordedtime


def remembered(beside: OutOfBand) -> tuple[Input, Stamped]:
    """A fact of the log, with the cause that led to it, as far as that is known."""
    envelope = decode(beside.value)
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
    )
    return input, Stamped(UUID(envelope.id), fact, envelope.stamp or "")
