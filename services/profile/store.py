"""Profile's SQL for the fold: bulk statements, a handful for each batch, whatever its size. Nothing here commits.

Locks are taken in this order: seen records, new identifiers (sorted), customers (sorted), identifiers of locked
customers, counters (sorted). Two batches that meet on the way wait for each other at one place only.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from uuid import UUID

from libs.common import bulk
from libs.common.db import Tx
from services.profile import models
from services.profile.domain.events import Heard
from services.profile.domain.identity import People, Person, newcomer
from services.profile.domain.state import decode, encode, moment


class Contended(OSError):
    """Somebody else changed what was read, time and again: the batch is tried again (it counts as unavailability)."""


ATTEMPTS = 5

# Statistics of an empty table must not lead to sequential scans once it is full.
_BY_INDEX = "SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off"

_UNSEEN = """
WITH before AS MATERIALIZED (SELECT id FROM profile.seen WHERE partition = $1 AND id = ANY($2::uuid[]))
INSERT INTO profile.seen (partition, id, week)
SELECT $1, new.id, new.week FROM unnest($2::uuid[], $3::date[]) AS new(id, week)
WHERE new.id NOT IN (SELECT id FROM before) ORDER BY new.id
ON CONFLICT DO NOTHING RETURNING id
"""
_HOLDERS = """
SELECT wanted.place, held.customer FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS wanted(kind, value, place)
CROSS JOIN LATERAL (
  SELECT customer FROM profile.identifiers AS i WHERE i.kind = wanted.kind AND i.value = wanted.value LIMIT 1
) AS held
"""
_LOCK = "SELECT id, state, version, went_into FROM profile.customers WHERE id = ANY($1::uuid[]) ORDER BY id FOR UPDATE"
_SURVIVORS = """
WITH RECURSIVE chain(start, id, went_into) AS (
  SELECT id, id, went_into FROM profile.customers WHERE id = ANY($1::uuid[])
  UNION ALL SELECT chain.start, c.id, c.went_into FROM chain JOIN profile.customers c ON c.id = chain.went_into
)
SELECT start, id FROM chain WHERE went_into IS NULL
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
_COLUMNS = ("id", "state", "version", "went_into", "user_id", "orders", "first_seen", "last_seen")
_SAVE = bulk.insert(
    models.customers,
    _COLUMNS,
    f"ON CONFLICT (id) DO UPDATE SET {', '.join(f'{name} = excluded.{name}' for name in _COLUMNS[1:])}"
    " WHERE customers.version = excluded.version - 1",
)
_COUNT = bulk.insert(
    models.counters,
    ("partition", "day", "counter", "source", "count"),
    "ON CONFLICT (partition, day, counter, source) DO UPDATE SET count = counters.count + excluded.count",
)


async def by_index(tx: Tx) -> None:
    """Pin this transaction's plans to the indexes."""
    await tx.execute(_BY_INDEX)


def week_of(time: datetime) -> date:
    """The Monday (UTC) of the week in which `time` lies."""
    day = time.astimezone(UTC).date()
    return day - timedelta(days=day.weekday())


async def unseen(tx: Tx, partition: int, received: Mapping[UUID, datetime]) -> set[UUID]:
    """Which of these records the partition has not brought before; remembers them. One look-up probes all weeks.

    The weeks' tables must exist (`weeks.ensure`).
    """
    ids = list(received)
    weeks = [week_of(time) for time in received.values()]
    return {row[0] for row in await tx.fetch(_UNSEEN, partition, ids, weeks)}


async def gather(tx: Tx, events: Sequence[Heard]) -> People:
    """All customers whom the events may concern, locked, and whom each reference leads to.

    New identifiers are inserted first, so that of several partitions that meet one at once the first makes it, and the
    others wait and read whose it has become. Then all customers are locked in the order of their ids. A locked
    customer's own list of identifiers says whether the look-up still holds; if not, it is made again.
    """
    refs = sorted({ref for event in events for ref in event.refs})
    people = People()
    found = await _holders(tx, refs)
    if missing := [ref for ref in refs if ref not in found]:
        guesses = _guesses(events, found)
        made = await _claim(tx, missing, guesses)
        people.guessed = {ref: guesses[ref] for ref in made}
        if lost := [ref for ref in missing if ref not in made]:
            theirs = await _holders(tx, lost)
            if len(theirs) != len(lost):
                raise Contended("an identifier was made and unmade elsewhere")
            found |= theirs
    await _lock(tx, people, set(found.values()))
    for _ in range(ATTEMPTS):
        astray = [ref for ref, id in found.items() if ref not in people.by_id[id].state.identifiers]
        if not astray:
            people.by_ref = found
            return people
        found |= await _holders(tx, astray)
        await _lock(tx, people, set(found.values()) - people.by_id.keys(), out_of_order=True)
    raise Contended("identifiers lead elsewhere each time they are looked up")


async def gather_survivors(tx: Tx, ids: Collection[UUID]) -> dict[UUID, Person]:
    """The customers `ids`, locked: each, or into whom they went by merges. Raises LookupError when there is none."""
    people = People()
    for _ in range(ATTEMPTS):
        ends = {row[0]: row[1] for row in await tx.fetch(_SURVIVORS, list(ids))}
        if unknown := set(ids) - ends.keys():
            raise LookupError(f"there is no customer {min(unknown)}")
        await _lock(tx, people, set(ends.values()) - people.by_id.keys(), out_of_order=bool(people.by_id))
        if all(people.by_id[end].went_into is None for end in ends.values()):
            return {id: people.by_id[end] for id, end in ends.items()}
        people.by_id = {id: person for id, person in people.by_id.items() if person.went_into is None}
    raise Contended("customers are merged each time they are looked up")


async def _lock(tx: Tx, people: People, ids: Collection[UUID], *, out_of_order: bool = False) -> None:
    """Lock customers in the order of their ids. Those that come after others are not waited for: that could be for ever."""
    if not ids:
        return
    rows = await tx.fetch(_LOCK + " SKIP LOCKED" if out_of_order else _LOCK, list(ids))
    if len(rows) != len(ids):
        raise Contended("a customer is being changed elsewhere")
    for id, state, version, went_into in rows:
        people.by_id[id] = Person(id, decode(state), version, went_into)


async def known(tx: Tx, refs: Collection[str]) -> set[str]:
    """Which of these references lead to somebody."""
    return set(await _holders(tx, list(refs)))


async def _holders(tx: Tx, refs: Sequence[str]) -> dict[str, UUID]:
    if not refs:
        return {}
    rows = await tx.fetch(_HOLDERS, *_split(refs))
    return {refs[row[0] - 1]: row[1] for row in rows}


async def _claim(tx: Tx, refs: Sequence[str], guesses: Mapping[str, UUID]) -> set[str]:
    kinds, values = _split(refs)
    rows = await tx.fetch(_CLAIM, kinds, values, [guesses[ref] for ref in refs], [1] * len(refs))
    return {f"{row[0]}:{row[1]}" for row in rows}


def _guesses(events: Sequence[Heard], found: Mapping[str, UUID]) -> dict[str, UUID]:
    """Whom new identifiers will most likely lead to: who holds the event's other one, else the customer it makes."""
    holders = dict(found)
    for event in events:
        held = next((holders[ref] for ref in event.refs if ref in holders), None) or newcomer(event.id)
        for ref in event.refs:
            holders.setdefault(ref, held)
    return holders


async def save(tx: Tx, people: People) -> None:
    """Write the customers that changed, and the identifiers that lead elsewhere than their rows say.

    Raises Contended unless each customer's row was as it was read.
    """
    touched = sorted((person for person in people.by_id.values() if person.touched), key=lambda person: person.id)
    if touched:
        status = await tx.execute(_SAVE, *bulk.transposed([_row(person) for person in touched]))
        if status != f"INSERT 0 {len(touched)}":
            raise Contended(f"{status} of {len(touched)} customers")
    bound = [(*_split_one(ref), *people.binding(ref)) for ref in sorted(people.rebound) if not people.as_guessed(ref)]
    if bound:
        await tx.execute(_BIND, *bulk.transposed(bound))
    if unbound := [_split_one(ref) for ref in sorted(people.guessed) if ref not in people.by_ref]:
        await tx.execute(_RELEASE, *bulk.transposed(unbound))


def _row(person: Person) -> tuple[object, ...]:
    state = person.state
    return (
        person.id,
        encode(state),
        person.version + 1,
        person.went_into,
        state.user,
        state.completed,
        None if state.first is None else moment(state.first),
        None if state.last is None else moment(state.last),
    )


async def count(tx: Tx, partition: int, counts: Mapping[tuple[date, str, str], int]) -> None:
    """Add to the counters (by day, name and source) of a partition."""
    rows = [(partition, *key, counts[key]) for key in sorted(counts) if counts[key]]
    if rows:
        await tx.execute(_COUNT, *bulk.transposed(rows))


def _split(refs: Iterable[str]) -> tuple[list[str], list[str]]:
    parts = [_split_one(ref) for ref in refs]
    return [kind for kind, _ in parts], [value for _, value in parts]


def _split_one(ref: str) -> tuple[str, str]:
    kind, _, value = ref.partition(":")
    return kind, value
