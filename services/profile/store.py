"""Profile's SQL for the fold: a handful of bulk statements for a batch of any size. Nothing here commits.

Locks are taken in this order: dedup keys, new identifiers (sorted), customers (sorted), identifiers of locked
customers, counters (sorted). Two batches that overlap wait for each other at one place only.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import NamedTuple
from uuid import UUID

from libs.common.db import bulk
from libs.common.db.pipeline import AnyTx, Pipeline, pipelined
from libs.common.fold.customers import NOBODY
from libs.common.fold.section_store import SectionStore
from libs.common.fold.sections import Sections, Wanted
from services.profile import findable, models
from services.profile.domain.events import DedupKey, Event
from services.profile.domain.identity import LoadedCustomer, WorkingSet, new_customer_id
from services.profile.domain.state import SECTIONS, decode, encode, moment


class Contended(OSError):
    """Other processes changed what was read, several times in a row. The batch is retried, as if the database had
    been away."""


ATTEMPTS = 5

# New records, holders and the newest erasure: (partition, id), (-1 - place, customer), (microseconds, null). Probes all weeks.
_NEW = """
fresh AS (
  INSERT INTO profile.dedup_keys (partition, id, week)
  SELECT new.partition, new.id, new.week
  FROM unnest($1::smallint[], $2::uuid[], $3::date[]) AS new(partition, id, week)
  LEFT JOIN LATERAL (
    SELECT true AS was FROM profile.dedup_keys AS s WHERE s.partition = new.partition AND s.id = new.id LIMIT 1
  ) AS before ON true
  WHERE before.was IS NULL ORDER BY new.partition, new.id
  ON CONFLICT DO NOTHING RETURNING partition, id
)
"""
_HELD = """
SELECT wanted.place, held.customer FROM unnest(${kinds}::text[], ${values}::text[]) WITH ORDINALITY AS wanted(kind, value, place)
CROSS JOIN LATERAL (
  SELECT customer FROM profile.identifiers AS i WHERE i.kind = wanted.kind AND i.value = wanted.value LIMIT 1
) AS held
"""
_HOLDERS = _HELD.format(kinds=1, values=2)
_DEDUPLICATE = f"""
SELECT partition::bigint, id FROM fresh UNION ALL SELECT -place, customer FROM ({_HELD.format(kinds=4, values=5)}) AS held
UNION ALL SELECT (extract(epoch FROM newest.erased_at) * 1000000)::bigint, NULL
FROM (SELECT max(erased_at) AS erased_at FROM profile.tombstones) AS newest WHERE newest.erased_at IS NOT NULL
"""
_LOCK = (
    "SELECT id, state, version, merged_into FROM profile.customers WHERE id = ANY($1::uuid[]) ORDER BY id FOR UPDATE"
)
_SURVIVORS = f"""
WITH RECURSIVE chain(start, id, merged_into) AS (
  SELECT id, id, merged_into FROM profile.customers WHERE id = ANY($1::uuid[])
  UNION ALL SELECT chain.start, c.id, c.merged_into FROM chain JOIN profile.customers c ON c.id = chain.merged_into
)
SELECT start, coalesce(merged_into, id) FROM chain WHERE merged_into IS NULL OR merged_into = '{NOBODY}'
"""
_CLAIM = bulk.insert(models.identifiers, ("kind", "value", "customer", "version"))
_CLAIM += " AS n(kind, value, customer, version) ORDER BY kind, value ON CONFLICT DO NOTHING RETURNING kind, value"
_BIND = bulk.insert(
    models.identifiers,
    ("kind", "value", "customer", "version"),
    "ON CONFLICT (kind, value) DO UPDATE SET customer = excluded.customer, version = excluded.version",
)
_RELEASE = """
DELETE FROM profile.identifiers AS i USING unnest($1::text[], $2::text[]) AS n(kind, value)
WHERE i.kind = n.kind AND i.value = n.value
"""
_COLUMNS = ("id", "state", "version", "merged_into", "user_id", "orders", "first_seen", "last_seen", "seen")
# `seen` changes only once it is an hour old, so that most updates change no index (HOT)
_SAVE = bulk.insert(
    models.customers,
    _COLUMNS,
    f"ON CONFLICT (id) DO UPDATE SET {', '.join(f'{name} = excluded.{name}' for name in _COLUMNS[1:-1])},"
    " seen = CASE WHEN excluded.seen < customers.seen + interval '1 hour' THEN customers.seen ELSE excluded.seen END"
    " WHERE customers.version = excluded.version - 1",
)
_ENTER = bulk.insert(
    models.members,
    ("customer", "segment", "since"),
    "ON CONFLICT (customer, segment) DO UPDATE SET since = excluded.since",
)
_EXIT = bulk.delete(models.members)
_sections = SectionStore("profile", SECTIONS)
_COUNT = bulk.add(models.counters, ("count",))


@lru_cache(maxsize=1_000)
def week_of(time: datetime) -> date:
    """The Monday (UTC) of the week of `time`."""
    day = time.astimezone(UTC).date()
    return day - timedelta(days=day.weekday())


class Found(NamedTuple):
    """The dedup keys that are new, the customers of references, and when somebody was erased last."""

    unseen: set[DedupKey]
    holders: dict[str, UUID]
    newest_erasure: datetime | None


async def deduplicate(pipeline: Pipeline, received: Mapping[DedupKey, datetime], refs: Sequence[str]) -> Found:
    """Insert the dedup keys. Returns those that are new, the customers of the references, and the time of the last erasure.

    The weeks' tables must exist (`dedup_partitions.ensure`).
    """
    if not received:
        return Found(set(), {}, None)
    rows = [(*dedup_key, week_of(time)) for dedup_key, time in received.items()]
    unseen, holders, newest = set(), {}, None
    for place, id in await pipeline.rows(_DEDUPLICATE, *bulk.transposed(rows), *_split(refs), ctes=_NEW):
        if id is None:
            newest = moment(place)
        elif place < 0:
            holders[refs[-place - 1]] = id
        else:
            unseen.add(DedupKey(place, id))
    return Found(unseen, holders, newest)


def named(events: Sequence[Event]) -> list[str]:
    """The references in these events, sorted."""
    return sorted({ref for event in events for ref in event.refs})


async def load(
    tx: AnyTx,
    events: Sequence[Event],
    subjects: Collection[UUID] = (),
    holders: Mapping[str, UUID] | None = None,
) -> WorkingSet:
    """Load and lock all customers whom the events may concern, find the customer of each reference, and the survivor of
    each subject (`WorkingSet.survivors`). `holders` is what `deduplicate` just found.

    New identifiers are inserted first. If several partitions meet one at the same time, the first creates it; the
    others wait and read its customer. Then all customers are locked in the order of their ids. The identifiers of a
    locked customer show whether the look-up still holds; if not, it is repeated. The survivor of an erased subject is
    NOBODY. Raises LookupError if a subject is no customer.
    """
    refs, working_set = named(events), WorkingSet()
    found = await _holders(tx, refs) if holders is None else {ref: holders[ref] for ref in refs if ref in holders}
    if missing := [ref for ref in refs if ref not in found]:
        guesses = _guesses(events, found)
        made = await _claim(tx, missing, guesses)
        working_set.guessed = {ref: guesses[ref] for ref in made}
        if lost := [ref for ref in missing if ref not in made]:
            theirs = await _holders(tx, lost)
            if len(theirs) != len(lost):
                raise Contended("an identifier was made and unmade elsewhere")
            found |= theirs
    ends = await _survivors(tx, subjects)
    await _lock(tx, working_set, {*found.values(), *ends.values()} - {NOBODY})
    for _ in range(ATTEMPTS):
        astray = [ref for ref, id in found.items() if ref not in working_set.by_id[id].state.identifiers]
        moved = [each for each, id in ends.items() if id != NOBODY and working_set.by_id[id].merged_into is not None]
        if not astray and not moved:
            working_set.by_ref, working_set.survivors = found, ends
            return working_set
        found |= await _holders(tx, astray)
        ends |= await _survivors(tx, moved)
        lacking = {*found.values(), *ends.values()} - working_set.by_id.keys() - {NOBODY}
        await _lock(tx, working_set, lacking, out_of_order=True)
    raise Contended("identifiers lead elsewhere each time they are looked up")


async def _survivors(tx: AnyTx, subjects: Collection[UUID]) -> dict[UUID, UUID]:
    """The survivor of each of these customers; NOBODY if they were erased. Raises LookupError if one does not exist."""
    if not subjects:
        return {}
    ends = {row[0]: row[1] for row in await tx.fetch(_SURVIVORS, list(subjects))}
    if unknown := set(subjects) - ends.keys():
        raise LookupError(f"there is no customer {min(unknown)}")
    return ends


async def lock(tx: AnyTx, ids: Collection[UUID]) -> WorkingSet:
    """Lock these customers, in the order of their ids. Raises Contended if one does not exist."""
    working_set = WorkingSet()
    await _lock(tx, working_set, ids)
    return working_set


async def _lock(tx: AnyTx, working_set: WorkingSet, ids: Collection[UUID], *, out_of_order: bool = False) -> None:
    """Lock customers in the order of their ids. Out of order it does not wait for locked ones, because that could be
    a deadlock."""
    if not ids:
        return
    rows = await tx.fetch(_LOCK + " SKIP LOCKED" if out_of_order else _LOCK, list(ids))
    if len(rows) != len(ids):
        raise Contended("a customer is being changed elsewhere")
    for id, state, version, merged_into in rows:
        working_set.by_id[id] = LoadedCustomer.stored(id, decode(state), version, merged_into)


async def load_sections(tx: AnyTx, wanted: Iterable[tuple[Sections, Wanted]]) -> None:
    """Load sections of locked customers, as far as they are not there yet."""
    await _sections.load(tx, wanted)


async def known(tx: AnyTx, refs: Collection[str]) -> set[str]:
    """Which of these references lead to somebody."""
    return set(await _holders(tx, list(refs)))


async def _holders(tx: AnyTx, refs: Sequence[str]) -> dict[str, UUID]:
    if not refs:
        return {}
    rows = await tx.fetch(_HOLDERS, *_split(refs))
    return {refs[row[0] - 1]: row[1] for row in rows}


async def _claim(tx: AnyTx, refs: Sequence[str], guesses: Mapping[str, UUID]) -> set[str]:
    kinds, values = _split(refs)
    rows = await tx.fetch(_CLAIM, kinds, values, [guesses[ref] for ref in refs], [1] * len(refs))
    return {f"{row[0]}:{row[1]}" for row in rows}


def _guesses(events: Sequence[Event], found: Mapping[str, UUID]) -> dict[str, UUID]:
    """Whom new identifiers will most likely lead to: who holds the event's other one, else the customer it makes."""
    holders = dict(found)
    for event in events:
        held = next((holders[ref] for ref in event.refs if ref in holders), None) or new_customer_id(
            event.id, event.refs[0]
        )
        for ref in event.refs:
            holders.setdefault(ref, held)
    return holders


async def save(tx: AnyTx, working_set: WorkingSet) -> None:
    """Write the customers that changed, and the identifiers that lead elsewhere than their rows say.

    Raises Contended unless each customer's row was as it was read.
    """
    touched = sorted((loaded for loaded in working_set.by_id.values() if loaded.touched), key=lambda loaded: loaded.id)
    bound = [
        (*_split_one(ref), *working_set.binding(ref))
        for ref in sorted(working_set.rebound)
        if not working_set.as_guessed(ref)
    ]
    unbound = [_split_one(ref) for ref in sorted(working_set.guessed) if ref not in working_set.by_ref]
    async with pipelined(tx) as pipeline:
        if touched:
            columns = bulk.transposed([_row(loaded) for loaded in touched])
            await pipeline.write(_SAVE, *columns, rows=len(touched), otherwise=Contended)
            await _sections.save(pipeline, [each.state.sections for each in touched if each.state.sections.changed])
            await _save_members(pipeline, touched)
            await findable.save(pipeline, touched)
        if bound:
            await pipeline.execute(_BIND, *bulk.transposed(bound))
        if unbound:
            await pipeline.execute(_RELEASE, *bulk.transposed(unbound))


async def _save_members(pipeline: Pipeline, customers: Iterable[LoadedCustomer]) -> None:
    """Write who entered and left which segment. Of several moves the last one counts."""
    last = {(loaded.id, move.segment): move for loaded in customers for move in loaded.moves}
    entered = [(*key, moment(move.at)) for key, move in sorted(last.items()) if move.entered]
    exited = [key for key, move in sorted(last.items()) if not move.entered]
    if entered:
        await pipeline.execute(_ENTER, *bulk.transposed(entered))
    if exited:
        await pipeline.execute(_EXIT, *bulk.transposed(exited))


def _row(loaded: LoadedCustomer) -> tuple[object, ...]:
    state = loaded.state
    last = None if state.last is None else moment(state.last)
    return (
        loaded.id,
        encode(state),
        loaded.version + 1,
        loaded.merged_into,
        state.user,
        state.completed,
        None if state.first is None else moment(state.first),
        last,
        last,
    )


async def count(tx: AnyTx, counts: Mapping[tuple[int, date, str, str], int]) -> None:
    """Add to the counters, by partition, day, name and source."""
    rows = [(*key, counts[key]) for key in sorted(counts) if counts[key]]
    if rows:
        await tx.execute(_COUNT, *bulk.transposed(rows))


def _split(refs: Iterable[str]) -> tuple[list[str], list[str]]:
    parts = [_split_one(ref) for ref in refs]
    return [kind for kind, _ in parts], [value for _, value in parts]


def _split_one(ref: str) -> tuple[str, str]:
    kind, _, value = ref.partition(":")
    return kind, value
