"""A replay: folds the journal once more, into a shadow, exactly as the service did.

What happened beside the journal is put back in its place: a fact of a command before the first record that was folded
after it, told by their stamps; a dead letter not where it died, but where it was replayed. Nothing is sent, and nothing
live is written to. The state comes out the same, byte for byte, under the release that made it.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Generic, TypeVar
from uuid import UUID

import msgspec

from libs.common.contracts.input import Input
from libs.common.contracts.profile import JOURNAL, CustomerLeft, CustomerMerged
from libs.common.db.pool import Tx
from libs.common.fold.customers import Row
from libs.common.fold.decider import Applied
from libs.common.fold.handler import ParsedRecord
from libs.common.log.reader import Record
from libs.common.replay.journal import Journal, ReplayFailed
from libs.common.replay.out_of_band import OutOfBand, OutOfBandIndex
from libs.common.replay.replayable import Replayable
from libs.common.replay.rulebooks import RulebookLog
from libs.common.replay.shadow import Shadow
from libs.common.replay.steps import Steps, remembered

S = TypeVar("S")
R = TypeVar("R")

BATCH = 500


class Replay(Generic[S, R]):
    """One replay. `tx` is a connection to the service's database; every method works in the transaction that it is in."""

    #: Whether customers are looked at to whom a record can do nothing, too.
    everyone = False

    def __init__(self, replayable: Replayable[S, R], shadow: Shadow, journal: Journal, tx: Tx) -> None:
        self.replayable = replayable
        self.shadow = shadow
        self.journal = journal
        self.tx = tx
        self.handler = replayable.handler
        self.besides = OutOfBandIndex(replayable, shadow.schema)
        self.reached: dict[int, int] = {}
        self.records = 0
        #: Facts decided again: how many, and how many of them were not as they had been.
        self.facts = self.differing_facts = 0
        #: The connection for the service's own statements.
        self.over = shadow.over(tx)
        self._targets: dict[int, int] = {}
        self._rulebooks = RulebookLog({})
        self._dead_lettered: set[tuple[int, int]] = set()

    async def begin(self, *, durable: bool = False) -> None:
        """Make the shadow, empty."""
        await self.shadow.make(self.tx, durable=durable)
        await self.besides.make(self.tx)

    async def seek(self) -> int:
        """At where the service stands now; how many records away that is.

        Positions are read first: what was put in between before them was committed before them.
        """
        service = self.replayable.service
        rows = await self.tx.fetch(
            f"SELECT partition, next FROM \"{service}\".positions WHERE reader = 'fold' AND topic = $1", JOURNAL
        )
        self._targets = {row[0]: row[1] for row in rows}
        self._rulebooks = await RulebookLog.load(self.tx, service)
        rows = await self.tx.fetch(
            f'SELECT partition, "offset" FROM "{service}".dead_letters WHERE topic = $1', JOURNAL
        )
        self._dead_lettered = {(row[0], row[1]) for row in rows}
        await self.besides.extend(self.tx)
        return sum(next - self.reached.get(partition, 0) for partition, next in self._targets.items())

    async def fold(self) -> int:
        """One batch of each partition, as far as it goes; how many records. 0: the aim is reached.

        Raises ReplayFailed for a record that cannot be applied, and when merges wait for each other.
        """
        before, behind = self.records, 0
        for partition, target in sorted(self._targets.items()):
            reached = self.reached.get(partition, 0)
            if reached < target:
                records = await self.journal.read(partition, reached, min(target, reached + BATCH))
                async with self.tx.transaction():
                    taken = await self._batch(partition, records)
                self.reached[partition] = reached + taken
                self.records += taken
                behind += target - reached - taken
        if behind and self.records == before:
            raise ReplayFailed(f"{self.replayable.service}: merges wait for customers who do not leave")
        return self.records - before

    async def drain(self) -> None:
        """Put back what comes after the last record. Call it when the aim is reached, and its reading was consistent."""
        while customers := await self.besides.left(self.tx, BATCH):
            async with self.tx.transaction():
                rows = await self.handler.customers.load(self.over, customers)
                due = await self.besides.due(self.tx, rows, 0, leaving=rows)
                steps = Steps(self, rows, due, await self._rules_of(due))
                for row in rows.values():
                    await steps.put_back(row)
                for partition in range(self.journal.partitions):
                    await self._project(
                        [each for each in steps.applied if self.journal.partition_of(each.customer) == partition]
                    )
                await self._save(rows, steps)

    async def _batch(self, partition: int, records: Sequence[Record]) -> int:
        """One batch; how many of its records were taken, when one waits for a customer who has not left yet."""
        read: list[tuple[Record, int, ParsedRecord | None]] = []
        rules: dict[int, R] = {}
        for record in records:
            rulebook = self._rulebooks.at(partition, record.offset)
            if rulebook not in rules:
                rules[rulebook] = await self.rules(rulebook)
            dead_lettered = (partition, record.offset) in self._dead_lettered
            read.append((record, rulebook, None if dead_lettered else self.read(record, rules[rulebook])))
        needed = {id for _, _, said in read if said and (said.body is not None or self.everyone) for id in _needs(said)}
        rows = await self.handler.customers.load(self.over, needed)
        leaving = [said.customer for _, _, said in read if said and isinstance(said.body, CustomerLeft)]
        due = await self.besides.due(self.tx, rows, records[-1].offset, leaving)
        steps = Steps(self, rows, due, rules | await self._rules_of(due))
        await self._load_sections(rows, read, rules)
        taken = 0
        for record, rulebook, said in read:
            if said is None:
                await self.handler.skip(self.over, record)
            elif said.body is None:
                await steps.skip(record, said)
            elif not await steps.apply(record, said, rulebook):
                break
            taken += 1
        steps.bound.extend((each, said.customer) for _, _, said in read[:taken] if said for each in said.bindings)
        await self._project(steps.applied)
        await self._save(rows, steps)
        self.replayable.written([partition])
        return taken

    async def _load_sections(
        self,
        rows: Mapping[UUID, Row[S]],
        read: Sequence[tuple[Record, int, ParsedRecord | None]],
        rules: Mapping[int, R],
    ) -> None:
        """The sections that the records of a batch name."""
        named = [
            each
            for _, rulebook, said in read
            if said is not None and said.body is not None and not isinstance(said.body, CustomerLeft | CustomerMerged)
            for each in self.handler.named(rows[said.customer], said.body, rules[rulebook])
        ]
        await self.handler.customers.load_sections(self.over, named)

    async def _project(self, applied: list[Applied[S]]) -> None:
        if applied:
            await self.handler.decider.project(self.over, applied)

    async def _save(self, rows: Mapping[UUID, Row[S]], steps: Steps[S, R]) -> None:
        await self.handler.customers.bind(self.over, steps.bound)
        await self.handler.customers.save(self.over, rows.values())
        await self.besides.done(self.tx, steps.done)
        self.handler.customers.known(rows)

    async def _rules_of(self, due: Mapping[UUID, list[OutOfBand]]) -> dict[int, R]:
        books = {each.rulebook for these in due.values() for each in these if each.kind == "record"}
        return {book: await self.rules(book) for book in sorted(books)}

    # -- what a what-if does otherwise --------------------------------------------------------------------------------
    async def rules(self, rulebook: int) -> R:
        """The rules of a rulebook."""
        return await self.handler.rules(self.over, rulebook)

    def read(self, record: Record, rules: R) -> ParsedRecord:
        """What the service reads from a record. Raises ReplayFailed when it can't."""
        try:
            return self.handler._read(record, rules)
        except Exception as error:
            raise self.failed(record, error) from error

    async def decided(self, row: Row[S], said: ParsedRecord, input: Input, rules: R, place: str) -> list[Applied[S]]:
        """What follows from an input."""
        return [await self.handler.decide_on(self.over, row, input, rules, place)]

    def viewed(self, input: Input, rules: R, told: Sequence[OutOfBand]) -> Input:
        """The input with the view of shared resources that it was decided with, as the recorded facts tell."""
        draws = self.handler.decider.shared
        if draws is None or not tuple(draws.named(input.body, input.time, input.partition, rules)):
            return input
        facts = [remembered(each)[1].fact for each in told]
        return msgspec.structs.replace(input, shared=draws.recorded(input, rules, facts))

    def puts_back(self, fact: OutOfBand) -> bool:
        """Whether a fact that a command led to is put back."""
        return True

    def compare_facts(self, told: Sequence[OutOfBand], made: Sequence[Applied[S]]) -> None:
        """Count the facts of one cause: as they were `told` in the log, and as they are `made` now."""
        values = [each.value for applied in made for each in self.handler.outgoing(applied)]
        self.facts += len(told)
        self.differing_facts += abs(len(told) - len(values))
        self.differing_facts += sum(
            one.value != value and not self.replayable.same(one.value, value)
            for one, value in zip(told, values, strict=False)
        )

    def failed(self, record: Record, error: Exception) -> ReplayFailed:
        where = f"record {record.offset} of {record.topic}/{record.partition}"
        return ReplayFailed(f"{where} was applied once, and cannot be now: {type(error).__name__}: {error}", record)


def _needs(said: ParsedRecord) -> Iterator[UUID]:
    yield said.customer
    if isinstance(said.body, CustomerMerged):
        yield UUID(said.body.other)
