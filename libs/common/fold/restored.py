"""A service whose database was restored: its log came back from Kafka (`restoring`), its state is still the backup's.

The journal is folded on from where the backup stands, but what was decided then is in the log already, and is not appended
again: as in a replay each fact belongs to its record, and the facts of commands are put back in their place. So the state
comes to where it was when the last of the facts was sent; from there on the service goes on as ever.
"""

import contextlib
import importlib
from collections.abc import Collection, Mapping, Sequence
from typing import Any
from uuid import UUID

import msgspec
import structlog

from libs.common.contracts.profile import JOURNAL, CustomerLeft
from libs.common.contracts.records import decode
from libs.common.contracts.registry import written_by
from libs.common.db.pool import Tx
from libs.common.errors import Unavailable
from libs.common.fold.customers import Row
from libs.common.fold.dead_letters import bury
from libs.common.fold.failures import is_poison, must_not_be_buried
from libs.common.fold.restored_journal import ReaderJournal
from libs.common.fold.work import Work
from libs.common.log.append import append
from libs.common.log.positions import Positions
from libs.common.log.reader import Reader, Record, Where, after
from libs.common.replay.journal import ReplayFailed
from libs.common.replay.out_of_band import Beside
from libs.common.replay.replay import Replay
from libs.common.replay.replayable import Replayable
from libs.common.replay.run import connect
from libs.common.replay.shadow import Shadow
from libs.common.replay.steps import Steps
from libs.common.settings import Settings

logger = structlog.get_logger()

#: Any number, the same in all processes.
LOCK = 7_262_003

_COMMANDS = """
INSERT INTO "{service}".commands (key, customer, digest, answer)
SELECT 'restored:' || id, customer, '', 'null' FROM unnest($1::text[], $2::uuid[]) AS done(id, customer)
ON CONFLICT DO NOTHING
"""


async def put_back(service: str, settings: Settings, reader: Reader) -> int:
    """Bring the state level with the facts that were taken back; how many records were folded for it. Nothing else is to
    fold meanwhile. May be cut off anywhere, and goes on from there the next time.

    Raises Unavailable while another process does it, and when it cannot be done: the sentence says what to do.
    """
    topic = written_by(service)
    connection = await connect(settings, f"{service}-restored")
    try:
        rows = await connection.fetch("SELECT partition, first FROM log.imported WHERE topic = $1", topic)
        if not rows:
            return 0
        if not await connection.fetchval("SELECT pg_try_advisory_lock($1, hashtext($2))", LOCK, service):
            raise Unavailable(f"another process of {service} is putting back what a restore has lost")
        replayable = importlib.import_module(f"services.{service}.replay").replayable(settings)
        restoration = Restoration(replayable, ReaderJournal(reader, settings.partitions), connection, topic)
        try:
            await restoration.run({row[0]: row[1] for row in rows})
        except ReplayFailed as error:
            raise Unavailable(f"{service}'s state cannot be brought level with its facts: {error}") from error
        logger.warning(
            "what the restored database did not know is put back",
            service=service, records=restoration.records, facts=restoration.facts, differing=restoration.differing_facts,
        )  # fmt: skip
        return restoration.records
    finally:
        await connection.close(timeout=5)


class Live(Shadow):
    """The live tables themselves; only the index of facts lies beside them."""

    async def make(self, tx: Tx, *, durable: bool) -> None:
        await self.drop(tx)
        await tx.execute(f'CREATE SCHEMA "{self.schema}"')
        await tx.execute(f'CREATE VIEW "{self.schema}".customers AS SELECT * FROM "{self.live}".customers')

    def over(self, connection: Tx) -> Tx:
        return connection


class Restoration(Replay[Any, Any]):
    """A replay into the live tables, from where they stand, under the service's positions."""

    def __init__(self, replayable: Replayable[Any, Any], journal: ReaderJournal, tx: Tx, topic: str) -> None:
        super().__init__(replayable, Live(replayable, "restored"), journal, tx)
        self._reading = journal
        self._topic = topic
        self._positions = Positions(replayable.service, "fold")
        self._carried_out: list[tuple[str, UUID]] = []
        #: Of a partition the ids of facts that the last record which had any led to, perhaps not all of them.
        self._last: dict[int, set[str]] = {}

    async def run(self, firsts: Mapping[int, int]) -> None:
        """All of it. `firsts` says from which offset on the facts of a partition were taken back."""
        await self.begin()
        heads = await self.tx.fetch("SELECT partition, next FROM log.heads WHERE topic = $1", self._topic)
        self.besides.starting_at({row[0]: firsts.get(row[0], row[1]) for row in heads})
        await self.aim()
        await self._refuse_lost_rules()
        await self._set_last_aside()
        while True:
            try:
                while await self.fold():
                    pass
                break
            except ReplayFailed as failed:
                if failed.record and await self._bury(failed.record, failed.__cause__ or failed):
                    continue
                busy = [lane for lane, target in self._targets.items() if self.reached[lane] < target]
                if not busy or not await self._others(busy):
                    raise
        await self.drain()
        waiting = dict(self._last)
        while waiting:
            done = [partition for partition, known in waiting.items() if await self._step(partition, known)]
            if not done and not await self._others(waiting):
                raise ReplayFailed("merges wait for customers who do not leave")
            for partition in done:
                del waiting[partition]
        async with self.tx.transaction():
            if self.replayable.told:
                await self.tx.execute(self.replayable.told)
            await self.tx.execute("DELETE FROM log.imported WHERE topic = $1", self._topic)
            await self.shadow.drop(self.tx)

    async def aim(self) -> int:
        """At the records at which the last of the facts were decided."""
        await super().aim()
        stood = await self._positions.all(self.tx)
        self._reading.stood = {where.partition: position for where, position in stood.items()}
        self.reached = {partition: position.next for partition, position in self._reading.stood.items()}
        # dead letters that were replayed, and commands that were kept, before the backup: the state has them
        await self.tx.execute(f"DELETE FROM \"{self.shadow.schema}\".beside WHERE kind <> 'fact'")
        self._targets = {}
        query = f'SELECT customer, max(position) FROM "{self.shadow.schema}".beside GROUP BY customer'
        for customer, position in await self.tx.fetch(query):
            lane = self.journal.lane(customer)
            self._targets[lane] = max(position, self._targets.get(lane, 0))
        return sum(max(0, next - self.reached[lane]) for lane, next in self._targets.items())

    async def _refuse_lost_rules(self) -> None:
        """Under other rules the state would not be what the facts say: points that were credited would be others."""
        used = await self.tx.fetchval(f'SELECT max(rulebook) FROM "{self.shadow.schema}".beside')
        known = await self.tx.fetchval(f'SELECT coalesce(max(number), 0) FROM "{self.replayable.service}".rulebooks')
        if used is not None and used > known:
            raise Unavailable(
                f"{self.replayable.service} has decided facts under rulebook {used}, and the restored database knows up to"
                f" {known}. Rules are nowhere but in the database: restore a backup from after they were last published, or"
                " all services to one moment (docs/operations.md, With Kafka as the log). Until then nothing is decided"
            )

    async def _set_last_aside(self) -> None:
        """What the last record led to may have been sent in part: it is decided again, and what is there is left out."""
        schema = self.shadow.schema
        for partition, position in self._targets.items():
            record = await self._reading.one(partition, position)
            if record is None:
                continue
            envelope = decode(record.value)
            rows = await self.tx.fetch(
                f'SELECT ctid, customer, value FROM "{schema}".beside WHERE position = $1 AND id = $2',
                position,
                envelope.id,
            )
            last = [
                row
                for row in rows
                if self.journal.lane(row["customer"]) == partition
                and decode(row["value"]).recordedtime == envelope.recordedtime
            ]
            if last and self.reached[partition] <= position:
                self._last[partition] = {decode(row["value"]).id for row in last}
            await self.tx.execute(
                f'DELETE FROM "{schema}".beside WHERE ctid = ANY($1::tid[])', [row["ctid"] for row in last]
            )

    async def _batch(self, partition: int, records: Sequence[Record]) -> int:
        taken = await super()._batch(partition, records)
        if taken:
            where = Where(JOURNAL, partition)
            stood = self._reading.stood[partition]
            moved = after(stood, list(records[:taken]))
            await self._positions.advance(self.tx, {where: (stood, moved)})
            self._reading.stood[partition] = moved
        return taken

    async def _others(self, busy: Collection[int]) -> bool:
        """One record more of the partitions that are where they should be: a merge elsewhere may wait for it. That may be the
        very record whose facts were set aside."""
        stepped = False
        for partition in set(range(self.journal.partitions)) - set(busy):
            if await self._step(partition, self._last.get(partition, set())):
                self._last.pop(partition, None)
                stepped = True
        return stepped

    async def _bury(self, record: Record, error: BaseException) -> bool:
        """Make a record a dead letter again: the backup does not know that it was one. False when it was not, because it led
        to something."""
        if must_not_be_buried(record) or not is_poison(error):
            return False
        with contextlib.suppress(msgspec.MsgspecError, ValueError, RecursionError):  # what says nothing led to nothing
            query = f"SELECT 1 FROM \"{self.shadow.schema}\".beside WHERE kind = 'fact' AND position = $1 AND id = $2"
            if await self.tx.fetchval(query, record.offset, decode(record.value).id):
                return False
        async with self.tx.transaction():
            await bury(self.tx, self.replayable.service, record, error)
        self._buried.add((record.partition, record.offset))
        return True

    async def _step(self, partition: int, known: set[str]) -> bool:
        """One record as the fold takes it, but for facts that are `known`; False when there is none, or it must wait."""
        where, stood = Where(JOURNAL, partition), self._reading.stood[partition]
        record = await self._reading.one(partition, stood.next)
        if record is None:
            return False
        moved = after(stood, [record])
        transaction = self.tx.transaction()
        await transaction.start()
        try:
            rulebook = await self._positions.advance(self.tx, {where: (stood, moved)})
            await self._put_back_before(record, rulebook)
            outcome = await self.handler.apply(self.tx, [Work(where, [record], rulebook, stood.next)])
            if outcome.taken.get(where) == 0:
                await transaction.rollback()
                self.handler.customers.forget()
                return False
            new = [each for each in outcome.outgoing if decode(each.value).id not in known]
            await append(self.tx, self._topic, new, self.journal.partitions)
        except BaseException as error:
            await transaction.rollback()
            self.handler.customers.forget()
            if known or not isinstance(error, Exception) or not await self._bury(record, error):
                raise
            async with self.tx.transaction():
                await self._positions.advance(self.tx, {where: (stood, moved)})
                await self.handler.pass_over(self.tx, record)
        else:
            await transaction.commit()
        self._reading.stood[partition] = moved
        self.reached[partition] = moved.next
        self.records += 1
        return True

    async def _put_back_before(self, record: Record, rulebook: int) -> None:
        """What commands did to the customer of a record, just before it."""
        rules = await self.rules(rulebook)
        said = self.handler._read(record, rules)
        if said.body is None:
            return
        leaves = isinstance(said.body, CustomerLeft)
        rows = await self.handler.customers.load(self._over, [said.customer])
        due = await self.besides.due(self.tx, rows, record.offset, rows if leaves else ())
        steps = Steps(self, rows, due, {rulebook: rules} | await self._rules_of(due))
        steps.put_back(rows[said.customer], *(() if leaves else (record, said)))
        await self._project(steps.applied)
        await self._save(rows, steps)

    async def _save(self, rows: Mapping[UUID, Row[Any]], steps: Steps[Any, Any]) -> None:
        await super()._save(rows, steps)
        if self._carried_out:
            ids, customers = zip(*self._carried_out, strict=True)
            await self.tx.execute(_COMMANDS.format(service=self.replayable.service), ids, customers)
            self._carried_out = []

    def puts_back(self, fact: Beside) -> bool:
        """All; the commands that led to them are remembered, so that a repetition is not carried out again."""
        self._carried_out.append((fact.id or "", fact.customer))
        return True
