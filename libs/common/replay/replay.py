"""A replay folds the journal again, into a shadow, exactly as the service did.

Out-of-band changes are put back in their place, which their stamps give: a command's fact before the first record that
was folded after it, a dead letter where it was replayed (not where it failed). A replay sends nothing and writes no
live table. Under the release that made the state, the result is the same byte for byte.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Generic, TypeVar
from uuid import UUID

import msgspec

from libs.common.contracts.input import Input
from libs.common.contracts.profile import JOURNAL, CustomerErased, CustomerLeft, CustomerMerged
from libs.common.db.pool import Tx
from libs.common.fold.customers import Row
from libs.common.fold.decider import Applied
from libs.common.fold.parsed_record import ParsedRecord, erased_ids
from libs.common.fold.personal import KEPT
from libs.common.log.reader import Record
from libs.common.replay.journal import Journal, ReplayFailed
from libs.common.replay.out_of_band import OutOfBand, OutOfBandIndex
from libs.common.replay.replayable import Replayable
from libs.common.replay.rulebooks import RulebookLog
from libs.common.replay.shadow import Shadow
from libs.common.replay.steps import Steps, recorded_fact

S = TypeVar("S")
R = TypeVar("R")

BATCH = 500


class Replay(Generic[S, R]):
    """One replay. `tx` is a connection to the service's database. Methods use the transaction that it is in, if any."""

    #: Whether to load customers even if their record changes nothing.
    load_all = False

    def __init__(self, replayable: Replayable[S, R], shadow: Shadow, journal: Journal, tx: Tx) -> None:
        self.replayable = replayable
        self.shadow = shadow
        self.journal = journal
        self.tx = tx
        self.handler = replayable.handler
        self.out_of_band = OutOfBandIndex(replayable, shadow.schema)
        self.reached: dict[int, int] = {}
        self.records = 0
        #: The number of facts decided again, and of those that differ from the recorded ones.
        self.facts = self.differing_facts = 0
        #: The connection for the service's own statements, redirected to the shadow.
        self.service_tx = shadow.redirected(tx)
        self._targets: dict[int, int] = {}
        self._rulebooks = RulebookLog({})
        self._dead_lettered: set[tuple[int, int]] = set()
        self._erased: set[UUID] = set()

    async def begin(self, *, durable: bool = False) -> None:
        """Create the shadow, empty. `durable`: to be swapped in later."""
        await self.shadow.make(self.tx, durable=durable)
        await self.out_of_band.make(self.tx)

    async def seek(self) -> int:
        """Set the target to the service's current position. Returns how many records remain.

        Reads positions first: all out-of-band changes before these positions are then committed and visible.
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
        self._erased = {
            id for row in await self.tx.fetch(f'SELECT customers FROM "{service}".erasures') for id in row[0]
        }
        await self.out_of_band.extend(self.tx)
        return sum(next - self.reached.get(partition, 0) for partition, next in self._targets.items())

    async def fold(self) -> int:
        """Fold one batch of each partition. Returns the number of records; 0 means that the target is reached.

        Commits a transaction for each batch, unless `tx` is in one. Raises ReplayFailed for a record that cannot be
        applied, and if merges wait for customers who never leave.
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
            raise ReplayFailed(f"{self.replayable.service}: merges wait for customers that never leave")
        return self.records - before

    async def drain(self) -> None:
        """Put back what comes after the last record, and what is kept of erased customers. Call it at the target, in the
        transaction of the `seek`."""
        while customers := await self.out_of_band.left(self.tx, BATCH):
            async with self.tx.transaction():
                rows = await self.handler.customers.load(self.service_tx, customers)
                due = await self.out_of_band.due(self.tx, rows, 0, leaving=rows)
                steps = Steps(self, rows, due, await self._rules_of(due))
                for row in rows.values():
                    await steps.put_back(row)
                for partition in range(self.journal.partitions):
                    await self.project(
                        [each for each in steps.applied if self.journal.partition_of(each.customer) == partition]
                    )
                await self._save(rows, steps)
        await self._take_over()

    async def _take_over(self) -> None:
        """Take over what the live tables keep of erased customers."""
        live, shadow = self.replayable.service, self.shadow.schema
        taken = {each.table: f"partition = {KEPT}" for each in self.replayable.compared if each.sums}
        taken |= dict.fromkeys(self.replayable.taken_over if self._erased else (), "true")
        for table, which in taken.items():
            await self.tx.execute(f'DELETE FROM "{shadow}"."{table}" WHERE {which}')
            await self.tx.execute(f'INSERT INTO "{shadow}"."{table}" SELECT * FROM "{live}"."{table}" WHERE {which}')

    async def _batch(self, partition: int, records: Sequence[Record]) -> int:
        """Fold one batch. Returns how many records were applied: it stops at a merge that must wait."""
        read: list[tuple[Record, int, ParsedRecord | None]] = []
        rules: dict[int, R] = {}
        for record in records:
            rulebook = self._rulebooks.at(partition, record.offset)
            if rulebook not in rules:
                rules[rulebook] = await self.rules(rulebook)
            dead_lettered = (partition, record.offset) in self._dead_lettered
            read.append((record, rulebook, None if dead_lettered else self._parsed(record, rules[rulebook])))
        needed = {
            id
            for _, _, parsed in read
            if parsed and (parsed.body is not None or self.load_all)
            for id in _needs(parsed)
        }
        rows = await self.handler.customers.load(self.service_tx, needed)
        leaving = [parsed.customer for _, _, parsed in read if parsed and isinstance(parsed.body, CustomerLeft)]
        due = await self.out_of_band.due(self.tx, rows, records[-1].offset, leaving)
        steps = Steps(self, rows, due, rules | await self._rules_of(due))
        await self._load_sections(rows, read, rules)
        taken = 0
        for record, rulebook, parsed in read:
            if parsed is None:
                await self.handler.skip(self.service_tx, record)
            elif parsed.body is None:
                await steps.skip(record, parsed)
            elif not await steps.apply(record, parsed, rulebook):
                break
            taken += 1
        steps.bound.extend(
            (each, parsed.customer) for _, _, parsed in read[:taken] if parsed for each in parsed.bindings
        )
        await self.project(steps.applied)
        await self._save(rows, steps)
        self.replayable.written([partition])
        return taken

    def _parsed(self, record: Record, rules: R) -> ParsedRecord:
        """Parse a record. What is about an erased customer is skipped, also if it is not redacted yet."""
        parsed = self.parse(record, rules)
        erased = parsed.customer in self._erased and not isinstance(parsed.body, CustomerErased)
        return parsed._replace(body=None, bindings=()) if erased else parsed

    async def _load_sections(
        self,
        rows: Mapping[UUID, Row[S]],
        read: Sequence[tuple[Record, int, ParsedRecord | None]],
        rules: Mapping[int, R],
    ) -> None:
        """Load the sections that the records of a batch name."""
        named = [
            each
            for _, rulebook, parsed in read
            if parsed is not None
            and parsed.body is not None
            and not isinstance(parsed.body, CustomerLeft | CustomerMerged | CustomerErased)
            for each in self.handler.named(rows[parsed.customer], parsed.body, rules[rulebook])
        ]
        await self.handler.customers.load_sections(self.service_tx, named)

    async def project(self, applied: list[Applied[S]]) -> None:
        """Write the rows of applied inputs."""
        if applied:
            await self.handler.decider.project(self.service_tx, applied)

    async def _save(self, rows: Mapping[UUID, Row[S]], steps: Steps[S, R]) -> None:
        await self.handler.customers.bind(self.service_tx, steps.bound)
        await self.handler.customers.save(self.service_tx, rows.values())
        await self.out_of_band.done(self.tx, steps.done)
        self.handler.customers.known(rows)

    async def _rules_of(self, due: Mapping[UUID, list[OutOfBand]]) -> dict[int, R]:
        books = {each.rulebook for these in due.values() for each in these if each.kind == "record"}
        return {book: await self.rules(book) for book in sorted(books)}

    # -- what a what-if overrides -------------------------------------------------------------------------------------
    async def rules(self, rulebook: int) -> R:
        """The rules of a rulebook."""
        return await self.handler.rules(self.service_tx, rulebook)

    def parse(self, record: Record, rules: R) -> ParsedRecord:
        """Parse a record as the service does. Raises ReplayFailed."""
        try:
            return self.handler.parse(record, rules)
        except Exception as error:
            raise self.failed(record, error) from error

    async def decide(self, row: Row[S], parsed: ParsedRecord, input: Input, rules: R, place: str) -> list[Applied[S]]:
        """Decide and apply one input."""
        return [await self.handler.load_and_apply(self.service_tx, row, input, rules, place)]

    def viewed(self, input: Input, rules: R, recorded: Sequence[OutOfBand]) -> Input:
        """The input with the shared resources as `decide` saw them, rebuilt from the recorded facts."""
        draws = self.handler.decider.shared
        if draws is None or not tuple(draws.named(input.body, input.time, input.partition, rules)):
            return input
        facts = [recorded_fact(each)[1].fact for each in recorded]
        return msgspec.structs.replace(input, shared=draws.recorded(input, rules, facts))

    def puts_back(self, fact: OutOfBand) -> bool:
        """Whether to put back a command's fact."""
        return True

    def compare_facts(self, recorded: Sequence[OutOfBand], decided: Sequence[Applied[S]]) -> None:
        """Compare the facts of one cause, as recorded in the log and as decided now, and count differences."""
        values = [each.value for applied in decided for each in self.handler.outgoing(applied)]
        self.facts += len(recorded)
        self.differing_facts += abs(len(recorded) - len(values))
        self.differing_facts += sum(
            one.value != value and not self.replayable.same(one.value, value)
            for one, value in zip(recorded, values, strict=False)
        )

    def failed(self, record: Record, error: Exception) -> ReplayFailed:
        where = f"record {record.offset} of {record.topic}/{record.partition}"
        return ReplayFailed(f"{where} was applied before, but fails now: {type(error).__name__}: {error}", record)


def _needs(parsed: ParsedRecord) -> Iterator[UUID]:
    yield parsed.customer
    if isinstance(parsed.body, CustomerMerged):
        yield UUID(parsed.body.other)
    if isinstance(parsed.body, CustomerErased):
        yield from erased_ids(parsed.body, parsed.customer)
