"""The steps of one batch of a replay, on loaded rows: of each customer first what is due, then the record. Plain Python."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Generic, TypeVar
from uuid import UUID

import msgspec

from libs.common.contracts.profile import JOURNAL, CustomerLeft, CustomerMerged
from libs.common.contracts.records import Binding, decode
from libs.common.contracts.registry import BY_TYPE
from libs.common.fold.customers import Row
from libs.common.fold.decider import Applied, Cause, Stamped
from libs.common.fold.handler import Said, command_cause
from libs.common.log.reader import Record
from libs.common.replay.out_of_band import Beside

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
        due: Mapping[UUID, list[Beside]],
        rules: Mapping[int, R],
    ) -> None:
        self._replay = replay
        self._handler = replay.handler
        self._rows = rows
        self._due = {customer: list(reversed(these)) for customer, these in due.items()}
        self._rules = rules
        self.applied: list[Applied[S]] = []
        #: What was put back, and identifiers that came with it.
        self.done: list[Beside] = []
        self.bound: list[tuple[Binding, UUID]] = []

    def apply(self, record: Record, said: Said, rulebook: int) -> bool:
        """One record; False when it must wait for a customer who has not left yet."""
        row, body = self._rows[said.customer], said.body
        if isinstance(body, CustomerLeft):
            self.put_back(row)  # whatever there is: nothing happens to them from here on
            row.went_into, row.touched = UUID(body.into), True
            return True
        if isinstance(body, CustomerMerged):
            if (other := self._rows[UUID(body.other)]).went_into is None:
                return False
            self.put_back(row, record, said)
            body = self._handler._absorb(row, other)
        else:
            self.put_back(row, record, said)
        self._decide(row, said, body, rulebook, record)
        return True

    def pass_over(self, record: Record, said: Said) -> None:
        """A record that can do nothing under these rules; what was once decided on it is forgotten."""
        if (row := self._rows.get(said.customer)) is not None:
            self.put_back(row, record, said)
            self._told(row, record, said)

    def put_back(self, row: Row[S], record: Record | None = None, said: Said | None = None) -> None:
        """What was done to a customer beside the journal before this record; without one, all."""
        due = self._due.get(row.id, [])
        while due:
            beside = due[-1]
            if record and said and (beside.position > record.offset or _follows(beside, record.offset, said)):
                return
            self.done.append(due.pop())
            match beside.kind:
                case "fact":
                    self._put_back_fact(row, beside)
                case "record":
                    self._put_back_record(row, beside)
                case _:
                    self._put_back_command(row, beside)

    def _put_back_fact(self, row: Row[S], beside: Beside) -> None:
        """A fact that a command led to: it changes the state as it did."""
        row.facts, row.touched = beside.sequence, True
        if self._replay.puts_back(beside):
            cause, stamped = _remembered(beside)
            self._evolve(row, cause, [stamped])

    def _put_back_command(self, row: Row[S], beside: Beside) -> None:
        """A command that was kept, with the facts that it led to."""
        type, id, time = beside.type or "", beside.id or "", beside.time or beside.at
        body = msgspec.json.decode(beside.value, type=self._replay.replayable.commands[type])
        facts = []
        due = self._due.get(row.id, [])
        while due and due[-1].kind == "fact" and due[-1].id == id:
            facts.append(_remembered(due[-1])[1])
            row.facts = due.pop().sequence
        self._evolve(row, command_cause(self._handler.decider.source, type, id, time, body, None), facts)

    def _put_back_record(self, row: Row[S], beside: Beside) -> None:
        """A dead letter, where it was replayed."""
        partition = self._replay.journal.lane(row.id)
        record = Record(JOURNAL, partition, beside.position, str(row.id), beside.value, beside.at, beside.position)
        said = self._replay.read(record, self._rules[beside.rulebook])
        self.bound.extend((binding, row.id) for binding in said.bindings)
        if said.body is not None:
            self._decide(row, said, said.body, beside.rulebook, record)

    def _decide(self, row: Row[S], said: Said, body: object, rulebook: int, record: Record) -> None:
        replay, before = self._replay, row.facts
        told = self._told(row, record, said)
        row.facts = before
        cause = self._handler._cause(said.envelope, body)
        place = f"{record.partition}/{record.offset}/{rulebook}"
        try:
            made = replay.decided(row, said, cause, self._rules[rulebook], place)
        except Exception as error:
            raise replay.failed(record, error) from error
        self.applied.extend(made)
        replay.compare_facts(told, made)
        row.facts = told[-1].sequence if told else before  # as the log counts them, also where it differs

    def _told(self, row: Row[S], record: Record, said: Said) -> list[Beside]:
        """The facts that the log has of a record; the row counts them."""
        due, told = self._due.get(row.id, []), []
        while due and _follows(due[-1], record.offset, said):
            told.append(due.pop())
            row.facts, row.touched = told[-1].sequence, True
        return told

    def _evolve(self, row: Row[S], cause: Cause, facts: list[Stamped]) -> None:
        self._handler.decider.evolve(row.state, cause, [each.fact for each in facts])
        row.touched = True
        self.applied.append(Applied(row.id, row.state, cause, facts))


def _follows(beside: Beside, offset: int, said: Said) -> bool:
    """Whether a fact was decided on this very record, at this very place.

    A command may have been stamped with the same place, just before. What became of a message follows from a fact, too,
    and may be recorded when that very fact is about to be folded: so when it was received counts as well.
    """
    if beside.kind != "fact" or beside.position != offset or beside.id != said.envelope.id:
        return False
    return decode(beside.value).recordedtime == said.envelope.recordedtime


def _remembered(beside: Beside) -> tuple[Cause, Stamped]:
    """A fact of the log, with the cause that led to it, as far as that is known."""
    envelope = decode(beside.value)
    fact = msgspec.json.decode(envelope.data, type=BY_TYPE[envelope.type])
    cause = Cause(
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
    return cause, Stamped(UUID(envelope.id), fact, envelope.stamp or "")
