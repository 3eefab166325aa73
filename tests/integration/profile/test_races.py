"""Partitions that meet one person at once: whoever comes first decides, and nothing is lost or deadlocks."""

import asyncio
import random
from collections.abc import Sequence
from datetime import UTC
from uuid import UUID

import pytest

from libs.common.contracts.rewards import REWARDS
from libs.common.db.pool import Database
from libs.common.fold.batch import Batch
from libs.common.log.append import Outgoing
from libs.common.log.failures import is_poison
from libs.common.log.reader import Record, TopicPartition
from libs.common.runtime.backoff import Backoff
from services.profile import queries, search
from services.profile.domain.identity import LoadedCustomer, WorkingSet
from services.profile.domain.journey import AsOf, Journey
from services.profile.domain.state import Customer
from services.profile.handler import Profile as Handler
from services.profile.store import Contended, save
from tests.integration.profile.service import apply, batch_of, both, event
from tests.integration.profile.test_facts import badge
from tests.support import eventually


async def insistent(database: Database, handler: Handler, batch: Batch) -> list[Outgoing]:
    """As the fold: what is no poison is tried again."""
    backoff = Backoff(longest=0.2)
    while True:
        try:
            return await apply(database, handler, batch)
        except Exception as error:
            if is_poison(error):
                raise
            await asyncio.sleep(backoff.pause())


async def holders(database: Database) -> dict[str, UUID]:
    async with database.connection() as tx:
        rows = await tx.fetch("SELECT kind, value, customer FROM profile.identifiers")
    return {f"{row['kind']}:{row['value']}": row["customer"] for row in rows}


EVERYBODY = search.Search.read((), (), "", "id", 200)


async def living(database: Database) -> list[dict[str, object]]:
    async with database.connection() as tx:
        page = await search.page(tx, EVERYBODY, None, AsOf(0, Journey()))
        totals = await queries.summary(tx)
    assert totals["customers"] == len(page["items"])
    assert totals["identified"] == sum(item["user_id"] is not None for item in page["items"])
    items: list[dict[str, object]] = page["items"]
    for item in items:
        assert all(id == UUID(str(item["id"])) for ref, id in (await holders(database)).items() if ref in item["refs"])  # type: ignore[operator]
    return items


async def test_two_partitions_race_on_a_new_user(database: Database) -> None:
    handlers = [Handler(UTC, 8), Handler(UTC, 8)]
    for number in range(10):
        await both(
            *(
                insistent(
                    database,
                    handler,
                    batch_of(
                        partition,
                        [event("identify", f"u{number}", f"a{partition}-{number}", message=f"m{partition}-{number}")],
                    ),
                )
                for partition, handler in enumerate(handlers)
            )
        )
    customers = await living(database)
    assert len(customers) == 10
    assert all(len(customer["refs"]) == 3 for customer in customers)  # type: ignore[arg-type]


async def test_the_loser_of_a_race_waits_and_reads_the_winners(database: Database) -> None:
    """The winner's transaction is held open until the loser stands before its identifier."""
    first, second = Handler(UTC, 8), Handler(UTC, 8)
    async with database.transaction() as tx:
        won = await first.apply(tx, [batch_of(0, [event("identify", "u", "a1", message="m1")])])
        losing = asyncio.create_task(apply(database, second, batch_of(1, [event("identify", "u", "a2", message="m2")])))
        await _until_somebody_waits(database)
    (lost,) = await losing
    assert lost.key == won.outgoing[0].key
    assert len(await living(database)) == 1


@pytest.mark.parametrize("chained", [False, True])
async def test_a_merge_is_seen_by_who_waited_for_it(database: Database, chained: bool) -> None:
    """While u merges with a, b's event with a (or with u) waits, and ends at the survivor."""
    handler = Handler(UTC, 8)
    told = [
        event("page", device="a", message="m1"),
        event(user="u", message="m2"),
        event("page", device="b", message="m3"),
    ]
    await apply(database, handler, batch_of(0, told))
    async with database.transaction() as tx:
        await handler.apply(tx, [batch_of(0, [event("identify", "u", "a", message="m4")])])
        late = event("identify", "u", "b", message="m5") if chained else event("page", device="a", message="m5")
        waiting = asyncio.create_task(insistent(database, Handler(UTC, 8), batch_of(1, [late])))
        await _until_somebody_waits(database)
    journalled = await waiting
    survivor = (await holders(database))["user:u"]
    assert journalled[-1].key == str(survivor)
    assert {ref for ref, id in (await holders(database)).items() if id == survivor} >= {"user:u", "anon:a"}


async def test_crossing_merges_and_chains_end_as_one_after_the_other_would(database: Database) -> None:
    """Eight partitions at once; every device is of one user, so that any order gives the same customers."""
    random_ = random.Random(7)  # noqa: S311
    users = [f"u{number}" for number in range(6)]
    owners = {f"a{number}": users[number % 6] for number in range(24)}
    batches: list[Batch] = []
    for partition in range(8):
        devices = [device for number, device in enumerate(owners) if number % 8 == partition]
        for turn in range(6):
            events = [_any(random_, devices, owners, f"{partition}-{turn}-{place}") for place in range(8)]
            batches.append(batch_of(partition, events, turn * 8))
    handlers = [Handler(UTC, 8) for _ in range(8)]

    async def all_batches(partition: int) -> list[Outgoing]:
        written: list[Outgoing] = []
        for batch in batches:
            if batch.tp.partition == partition:
                written += await insistent(database, handlers[partition], batch)
        return written

    written = await both(*(all_batches(partition) for partition in range(8)))
    customers = await living(database)
    groups = _groups([record for batch in batches for record in batch.records], owners)
    assert {tuple(customer["refs"]) for customer in customers} == groups  # type: ignore[arg-type]
    async with database.connection() as tx:
        totals = await queries.summary(tx)
        rows = await tx.fetch(
            'SELECT partition, "offset", key, value FROM log."profile.journal" ORDER BY partition, "offset"'
        )
        left = {row[0] for row in await tx.fetch("SELECT id FROM profile.customers WHERE merged_into IS NOT NULL")}
    assert totals["events"] == 8 * 6 * 8
    assert len(rows) == sum(len(outgoing) for outgoing in written) == totals["events"] + 2 * totals["merges"]
    last = {row["key"]: row["value"] for row in rows}
    assert all(b'"type":"customer.left.v1"' in last[str(id)] for id in left)
    assert len(left) == totals["merges"] > 0


async def test_a_stale_look_up_is_made_again_behind_the_lock(database: Database) -> None:
    """Many rounds in which a device's event races the merge that takes it away."""
    for number in range(10):
        device, user = f"a{number}", f"u{number}"
        one, two = Handler(UTC, 8), Handler(UTC, 8)
        await apply(
            database,
            one,
            batch_of(0, [event("page", device=device, message=f"p{number}"), event(user=user, message=f"q{number}")]),
        )
        await both(
            insistent(database, one, batch_of(0, [event("identify", user, device, message=f"r{number}")])),
            insistent(database, two, batch_of(1, [event("page", device=device, message=f"s{number}")])),
            insistent(database, two, batch_of(2, [event(user=user, message=f"t{number}")])),
        )
    customers = await living(database)
    assert len(customers) == 10


def _any(random_: random.Random, devices: Sequence[str], owners: dict[str, str], message: str) -> Outgoing:
    device = random_.choice(devices)
    user = owners[device]
    choice = random_.random()
    if choice < 0.4:
        return event("page", device=device, message=message)
    if choice < 0.6:
        return event(user=user, message=message)
    return event("identify", user, device, message=message)


def _groups(records: Sequence[object], owners: dict[str, str]) -> set[tuple[str, ...]]:
    """Which identifiers belong together, from the events alone."""
    seen: set[str] = set()
    tied: dict[str, set[str]] = {}
    for record in records:
        value = record.value  # type: ignore[attr-defined]
        user = next((user for user in owners.values() if f'"userId":"{user}"'.encode() in value), None)
        device = next((device for device in owners if f'"anonymousId":"{device}"'.encode() in value), None)
        seen |= {f"user:{user}"} if user else set()
        seen |= {f"anon:{device}"} if device else set()
        if user and device:
            tied.setdefault(f"user:{user}", set()).add(f"anon:{device}")
    groups = {(user, *sorted(devices)) for user, devices in tied.items()}
    alone = seen - {ref for group in groups for ref in group}
    return groups | {(ref,) for ref in alone}


async def _until_somebody_waits(database: Database) -> None:
    async def somebody() -> bool:
        async with database.connection() as tx:
            return bool(await tx.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"))

    await eventually(somebody)


async def test_a_fact_races_the_merge_of_its_customer(database: Database) -> None:
    """It is journalled before `left` on the key of who left, or else on the survivor's."""
    handler = Handler(UTC, 8)
    for number in range(10):
        device, user = f"a{number}", f"u{number}"
        made = [event("page", device=device, message=f"p{number}"), event(user=user, message=f"q{number}")]
        anonymous = (await apply(database, handler, batch_of(0, made)))[0].key
        fact = badge(anonymous, number)
        facts = Batch(
            TopicPartition(REWARDS, 0), [Record(REWARDS, 0, number, fact.key, fact.value, fact.time, number)], 0, number
        )
        await both(
            insistent(database, handler, batch_of(0, [event("identify", user, device, message=f"r{number}")])),
            insistent(database, Handler(UTC, 8), facts),
        )
    async with database.connection() as tx:
        rows = await tx.fetch('SELECT key, value FROM log."profile.journal" ORDER BY partition, "offset"')
    left: set[str] = set()
    for row in rows:
        assert row["key"] not in left
        if b'"type":"customer.left.v1"' in row["value"]:
            left.add(row["key"])
    assert len(left) == 10
    assert sum(b'"type":"badge.earned.v1"' in row["value"] for row in rows) == 10


async def test_a_row_that_is_not_as_it_was_read_stops_the_batch(database: Database) -> None:
    handler = Handler(UTC, 8)
    (made,) = await apply(database, handler, batch_of(0, [event(user="u", message="m1")]))
    async with database.transaction() as tx:
        stale = LoadedCustomer(UUID(made.key), Customer(), version=7, touched=True)
        with pytest.raises(Contended, match="0 of 1 rows"):
            await save(tx, WorkingSet(by_id={stale.id: stale}))
    assert not is_poison(Contended())
