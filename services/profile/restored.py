"""Profile's database was restored, and its journal came back from Kafka: its state is put back from the journal's end, and
what is journalled already is passed over when it comes again.

What was journalled but never sent to Kafka is lost, and is decided again when its inputs come again. Of a merge one half may
have been sent: the other is journalled first of all, so that nobody waits for it.
"""

import contextlib
from collections import Counter
from collections.abc import Sequence
from datetime import tzinfo
from uuid import UUID

import msgspec
import structlog

from libs.common.contracts.ids import parsed
from libs.common.contracts.ingest import EVENTS
from libs.common.contracts.profile import JOURNAL
from libs.common.contracts.records import decode as decode_record
from libs.common.db.pipeline import AnyTx, Pipeline, pipelined
from libs.common.db.pool import Database, Tx
from libs.common.errors import Unavailable
from libs.common.fold.work import Handler, Outcome, Work
from libs.common.log.append import Outgoing, append
from libs.common.log.reader import Record
from libs.common.replay.journal import Journal
from libs.common.replay.run import connect
from services.profile import store, weeks
from services.profile.domain import events
from services.profile.domain.events import Brought
from services.profile.domain.identity import People, Person, newcomer
from services.profile.domain.state import decode
from services.profile.domain.tail import Journalled, Tail, Told, told
from services.profile.handler import Profile

logger = structlog.get_logger()

BATCH = 500
#: Any number, the same in all processes.
LOCK = 7_262_004
KNOWN = "profile_restored.known_inputs"

_MAKE = f"""
DROP SCHEMA IF EXISTS profile_restored CASCADE;
CREATE SCHEMA profile_restored;
CREATE TABLE {KNOWN} (id text PRIMARY KEY, times int NOT NULL)
"""
_KNOW = f"""
INSERT INTO {KNOWN} AS known SELECT * FROM unnest($1::text[], $2::int[])
ON CONFLICT (id) DO UPDATE SET times = known.times + excluded.times
"""
_TAKE = f"""
WITH met AS (
  UPDATE {KNOWN} AS known SET times = known.times - met.times FROM unnest($1::text[], $2::int[]) AS met(id, times)
  WHERE known.id = met.id RETURNING known.id
) SELECT count(*) FROM met
"""
_HOLDERS = """
SELECT kind || ':' || value, customer FROM profile.identifiers
WHERE (kind, value) IN (SELECT split_part(ref, ':', 1), substr(ref, strpos(ref, ':') + 1) FROM unnest($1::text[]) AS ref)
"""
_CUSTOMERS = "SELECT id, state, version, went_into FROM profile.customers WHERE id = ANY($1)"
_SEEN = """
SELECT partition, id FROM profile.seen WHERE (partition, id) IN (SELECT * FROM unnest($1::smallint[], $2::uuid[]))
"""


async def level(database: Database, handler: Profile) -> Handler:
    """Bring the state level with the journal, if a restore has just taken the latter back; the handler, wrapped since then.
    All of it is one transaction, so it may be cut off anywhere.

    The inputs that will come again are kept in the schema `profile_restored`; an operator drops it when nothing is behind any
    more, and with the next start the look-ups have ended.

    Nothing else is to fold meanwhile. Raises Unavailable while another process does it, and when it cannot be done.
    """
    connection = await connect(database.settings, "profile-restored")
    try:
        async with connection.transaction():
            rows = await connection.fetch("SELECT partition, first FROM log.imported WHERE topic = $1", JOURNAL)
            if rows:
                if not await connection.fetchval("SELECT pg_try_advisory_xact_lock($1)", LOCK):
                    raise Unavailable("another process of profile is putting back what a restore has lost")
                await connection.execute(_MAKE)
                restoration = Restoration(connection, database.settings.zone, database.settings.partitions)
                await restoration.run({row[0]: row[1] for row in rows})
                await connection.execute("DELETE FROM log.imported WHERE topic = $1", JOURNAL)
                logger.warning(
                    "what the restored database did not know is put back", service="profile",
                    records=restoration.records, merges_completed=len(restoration.journalled),
                )  # fmt: skip
            there = await connection.fetchval("SELECT to_regclass($1) IS NOT NULL", KNOWN)
    finally:
        await connection.close(timeout=5)
    return PassingOver(handler) if there else handler


class Restoration:
    """The journal from some offsets on, folded into the state, in the transaction of `tx`."""

    def __init__(self, tx: Tx, zone: tzinfo, partitions: int) -> None:
        self._tx = tx
        self._journal = Journal(tx, partitions)
        self._tail = Tail(zone)
        self._reached: dict[int, int] = {}
        self._ends: dict[int, int] = {}
        self._waiting: dict[int, Told] = {}
        self.records = 0
        #: Halves of merges that the journal had lost.
        self.journalled: list[Journalled] = []

    async def run(self, firsts: dict[int, int]) -> None:
        """All of it. `firsts` says from which offset on a partition's records were taken back."""
        rows = await self._tx.fetch("SELECT partition, next FROM log.heads WHERE topic = $1", JOURNAL)
        self._ends = {row[0]: row[1] for row in rows}
        self._reached = self._ends | firsts
        while any(self._reached[lane] < end for lane, end in self._ends.items()):
            moved = [await self._chunk(lane, end) for lane, end in self._ends.items() if self._reached[lane] < end]
            if not any(moved) and not await self._let_leave():
                raise Unavailable(
                    "profile's state cannot be brought level with its journal: merges wait for each other"
                )
        for left in list(self._tail.leaving.values()):
            people = await self._people([left])
            self.journalled.append(self._tail.take_over(people, self._journal.lane(left.customer), left))
            await store.save(self._tx, people)
        await store.count(self._tx, self._tail.counts)
        outgoing = [Outgoing(str(each.customer), each.value, each.time) for each in self.journalled]
        await append(self._tx, JOURNAL, outgoing, self._journal.partitions)

    async def _chunk(self, lane: int, end: int) -> int:
        """The next records of a partition, as far as none has to wait; how many."""
        first = self._reached[lane]
        records = await self._journal.read(lane, first, min(end, first + BATCH))
        read = [_read(record) for record in records]
        people = await self._people(read)
        taken = 0
        for record in read:
            if not self._tail.apply(people, lane, record):
                self._waiting[lane] = record
                break
            taken += 1
        await store.save(self._tx, people)
        known, self._tail.known = self._tail.known, Counter()
        await self._tx.execute(_KNOW, list(known), list(known.values()))
        self._reached[lane] = first + taken
        self.records += taken
        return taken

    async def _let_leave(self) -> bool:
        """Where nothing moves: those for whom a merge waits, and of whom there is no later record, leave now."""
        let = False
        for lane, merged in self._waiting.items():
            theirs = self._journal.lane(merged.counterpart)
            if self._reached[lane] < self._ends[lane] and self._reached[theirs] >= self._ends[theirs]:
                people = await self._people([merged])
                self.journalled.append(self._tail.leave(people, lane, merged))
                await store.save(self._tx, people)
                let = True
        return let

    async def _people(self, read: Sequence[Told]) -> People:
        """The customers whom these records change, and whom their identifiers lead to so far."""
        people = People()
        refs = sorted({ref for each in read for ref in each.refs})
        people.by_ref = dict(await self._tx.fetch(_HOLDERS, refs))
        ids = {*people.by_ref.values(), *(id for each in read for id in (each.customer, each.counterpart))}
        for row in await self._tx.fetch(_CUSTOMERS, list(ids)):
            people.by_id[row[0]] = Person(row[0], decode(row[1]), row[2], row[3])
        return people


class PassingOver:
    """The handler, without the inputs that are journalled already; each is passed over as often as it was journalled."""

    def __init__(self, handler: Profile) -> None:
        self._handler = handler

    async def apply(self, tx: AnyTx, works: Sequence[Work]) -> Outcome:
        async with pipelined(tx) as pipeline:
            return await self._apply(pipeline, works)

    async def _apply(self, tx: Pipeline, works: Sequence[Work]) -> Outcome:
        works = await self._unknown(tx, works)
        makes = [id for work in works if work.where.topic == EVENTS for record in work.records for id in _makes(record)]
        taken = {row[0] for row in await tx.fetch("SELECT id FROM profile.customers WHERE id = ANY($1)", makes)}
        return await self._handler.apply(tx, works, taken)

    async def pass_over(self, tx: Tx, record: Record) -> None:
        await self._handler.pass_over(tx, record)

    async def _unknown(self, tx: Pipeline, works: Sequence[Work]) -> list[Work]:
        """What is left of the batches, in runs of records without holes; remembers events that are passed over as seen."""
        ids = sorted({id for work in works for id in _ids(work.records)})
        rows = await tx.fetch(f"SELECT id, times FROM {KNOWN} WHERE id = ANY($1) ORDER BY id FOR UPDATE", ids)
        if not (times := Counter({row[0]: row[1] for row in rows if row[1] > 0})):
            return list(works)
        brought = [
            (work.where.partition, parsed(id))
            for work in works
            if work.where.topic == EVENTS
            for id in _ids(work.records)
            if id in times
        ]
        lanes, said = zip(*brought, strict=True) if brought else ((), ())
        seen = {Brought(*row) for row in await tx.fetch(_SEEN, lanes, said)}
        passed: Counter[str] = Counter()
        received = {}
        left = []
        for work in works:
            start = 0
            for index, record in enumerate(work.records):
                id = _id(record)
                if id is None or times[id] <= passed[id]:
                    continue
                if work.where.topic == EVENTS:
                    event = Brought(work.where.partition, parsed(id))
                    if event in seen:
                        continue  # a duplicate, as it was the first time
                    seen.add(event)
                    received[event] = decode_record(record.value).recordedtime
                passed[id] += 1
                left.append(_run(work, start, index))
                start = index + 1
            left.append(_run(work, start, len(work.records)))
        await weeks.ensure(tx, {store.week_of(time) for time in received.values()})
        await store.look(tx, received, ())
        await tx.execute(_TAKE, list(passed), list(passed.values()))
        await tx.execute(f"DELETE FROM {KNOWN} WHERE id = ANY($1) AND times <= 0", list(passed))
        return [work for work in left if work.records]


class _Named(msgspec.Struct):
    id: str


_named = msgspec.json.Decoder(_Named)


def _id(record: Record) -> str | None:
    """A record's id, which is a UUID; None for what is none, and is the handler's to refuse."""
    try:
        id = _named.decode(record.value).id
        parsed(id)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None
    return id


def _ids(records: Sequence[Record]) -> list[str]:
    return [id for record in records if (id := _id(record)) is not None]


def _makes(record: Record) -> list[UUID]:
    """Whom an event makes, if they are not there; nobody where it is the handler's to refuse."""
    with contextlib.suppress(msgspec.MsgspecError, ValueError, ArithmeticError, RecursionError):
        if event := events.read(record.value):
            return [newcomer(event.id, ref) for ref in event.refs]
    return []


def _run(work: Work, start: int, end: int) -> Work:
    return Work(work.where, work.records[start:end], work.rulebook, work.position + start)


def _read(record: Record) -> Told:
    try:
        return told(record.key, record.value)
    except (msgspec.MsgspecError, ValueError) as error:
        raise Unavailable(f"record {record.offset} of {JOURNAL}/{record.partition} cannot be read: {error}") from error
