"""Erases a customer: one transaction in which profile forgets them, and journals the record that every service answers."""

from collections.abc import Iterator
from datetime import UTC, datetime, tzinfo
from typing import NamedTuple
from uuid import UUID

import msgspec

from libs.common.contracts.ids import fresh
from libs.common.contracts.profile import JOURNAL, CustomerErased
from libs.common.db.pool import Tx
from libs.common.errors import Conflict
from libs.common.fold.customers import NOBODY, Customers
from libs.common.log import erasures
from libs.common.log.append import append
from libs.common.log.erasures import OpenErasure
from libs.common.log.keyed_hash import KeyedHash
from libs.common.log.notifier import Written
from libs.common.log.partition import partition_of
from libs.common.runtime.failpoints import failpoint
from services.profile import models, store
from services.profile.batch import EventBatch
from services.profile.domain.decide import Cause
from services.profile.domain.identity import LoadedCustomer, Move
from services.profile.domain.journey import Journey
from services.profile.domain.state import Customer, micros
from services.profile.erasure.tombstones import bury
from services.profile.journal import journalled

#: Traits that say how to reach somebody: their values are looked for like identifiers.
_REACHES = ("email", "phone")
_TABLES = (*models.PERSONAL, models.FOLD.commands.name)
_RELEASE = """
DELETE FROM profile.identifiers AS i USING unnest($1::text[], $2::text[]) AS n(kind, value)
WHERE i.kind = n.kind AND i.value = n.value RETURNING 1
"""
_DELETE = 'DELETE FROM profile."{table}" WHERE customer = ANY($1::uuid[]) RETURNING 1'
_LOCK = "SELECT 1 FROM profile.positions WHERE reader = 'fold' ORDER BY topic, partition FOR UPDATE"


class Asked(NamedTuple):
    """Who asked for an erasure. `key` and `digest` are keyed hashes of the idempotency key and of the request, because both
    may name somebody."""

    by: str
    key: bytes
    digest: bytes


async def _known(tx: Tx, asked: Asked) -> UUID | None:
    """The erasure that this key has begun already. Raises Conflict if it was for another request."""
    row = await tx.fetchrow("SELECT id, digest FROM profile.erasures WHERE key = $1", asked.key)
    if row is None:
        return None
    if row["digest"] != asked.digest:
        raise Conflict("the idempotency key was used for another request: use a new key")
    id: UUID = row["id"]
    return id


async def erase(
    tx: Tx, ref: str, asked: Asked, hashes: KeyedHash, zone: tzinfo, partitions: int
) -> tuple[UUID, Written]:
    """Erase a customer. Returns the erasure's id and what was journalled: nothing, if this key has done so already. Does not
    commit.

    It locks the positions first, as publishing does: no batch is in flight, so no event is between the look-up of its
    customer and its commit. Raises NotFound, also if they were erased under another key.
    """
    await tx.execute(_LOCK)
    if (known := await _known(tx, asked)) is not None:
        return known, {}
    customer = await Customers("profile", Customer).resolve(tx, ref)
    working_set = await store.lock(tx, [customer])
    loaded = working_set.by_id[customer]
    id, now, state = fresh(), datetime.now(UTC), loaded.state
    customers = [customer, *map(UUID, state.merged)]
    await bury(tx, hashes, state.identifiers, id, now)
    await erasures.store(tx, OpenErasure(id, now, [hashes.of(text) for text in sorted(set(_texts(state)))]))
    split = [ref.partition(":")[::2] for ref in state.identifiers]
    released = await tx.fetch(_RELEASE, [kind for kind, _ in split], [value for _, value in split])
    erased = {"customers": len(customers), "identifiers": len(released)}
    _forget(loaded, micros(now))
    counts = EventBatch((), zone)
    counts.count_moves([loaded], partition_of(str(customer), partitions))
    counts.count_erased(partition_of(str(customer), partitions), now)
    await store.save(tx, working_set)
    await store.count(tx, counts.counts)
    for table in _TABLES:
        erased[table] = len(await tx.fetch(_DELETE.format(table=table), customers))
    await tx.execute(
        "INSERT INTO profile.erasures (id, customer, also, asked_at, asked_by, key, digest, erased)"
        " VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
        id,
        customer,
        customers[1:],
        now,
        *asked,
        msgspec.json.encode(erased),
    )
    fact = CustomerErased(erasure=str(id), also=[str(each) for each in customers[1:]])
    place = f"{partition_of(str(customer), partitions)}/0/0"
    record = journalled(loaded, fact, Cause(None, now, now), place, Journey())  # of nobody: any rules of stages do
    written = await append(tx, JOURNAL, [record], partitions)
    failpoint("erasure.journalled")
    return id, written


def _forget(loaded: LoadedCustomer, at: int) -> None:
    """Empty a customer for good. Only how many facts were decided on them stays: it numbers the last one."""
    for segment in loaded.state.segments:
        loaded.moves.append(Move(segment, False, at))
    sections = loaded.state.sections
    loaded.state = Customer(facts=loaded.state.facts)
    loaded.state.hold(sections)
    loaded.merged_into, loaded.shown, loaded.touched = NOBODY, None, True


def _texts(state: Customer) -> Iterator[str]:
    """What names the customer in events that were rejected, or that are not here yet."""
    for ref in state.identifiers:
        yield ref.partition(":")[2]
    for name in _REACHES:
        trait = state.traits.get(name)
        value = None if trait is None or trait.gone else msgspec.json.decode(trait.value)
        if isinstance(value, str) and value:
            yield value
