"""Profile's database is an older backup, its journal has come back from Kafka: the state follows from the journal's end."""

import random
from collections import Counter
from datetime import UTC

import msgspec
import pytest

from deploy.local.postgres import Postgres
from libs.common.contracts.ingest import EVENTS
from libs.common.errors import Unavailable
from libs.common.log.reader import Where
from libs.common.settings import Settings
from services.profile.handler import Profile
from services.profile.restored import KNOWN, LOCK, PassingOver, level
from tests.integration.backups import Databases
from tests.integration.profile.lost import (
    Inputs,
    consistent,
    counterpart,
    heads,
    journal,
    lived,
    opened,
    take_back,
    told,
)
from tests.integration.profile.said import lane, said


@pytest.fixture
def databases(postgres: Postgres, template: str, settings: Settings) -> Databases[Settings]:
    return Databases(postgres, settings, Settings)


@pytest.mark.parametrize("seed", range(3))
async def test_the_state_follows_from_the_journal_and_nothing_is_written_again(
    databases: Databases[Settings], seed: int
) -> None:
    live, backup, inputs, at = await lived(databases, seed)
    expected, rows = await told(live), await journal(live)
    assert {"customer.left.v1", "customer.merged.v1"} < {msgspec.json.decode(row[3])["type"] for row in rows[-150:]}
    await take_back(backup, rows)
    handler = await level(backup, Profile(UTC))
    assert (await told(backup))["customers"] == expected["customers"]
    assert not await backup.pool.fetch("SELECT * FROM log.imported")
    await inputs.read(backup, handler, at, random.Random(f"again {seed}"))  # noqa: S311
    assert await journal(backup) == rows
    assert await told(backup) == expected
    assert isinstance(await level(backup, Profile(UTC)), PassingOver)
    assert not await backup.pool.fetch(f"SELECT * FROM {KNOWN}")  # all has come again
    await backup.pool.execute("DROP SCHEMA profile_restored CASCADE")
    assert isinstance(await level(backup, Profile(UTC)), Profile)
    await live.close()
    await backup.close()


@pytest.mark.parametrize("seed", range(4))
async def test_what_was_never_sent_is_decided_anew_and_halves_of_merges_are_completed(
    databases: Databases[Settings], seed: int
) -> None:
    """Of each partition of the journal another part was sent: merges, and what one event led to, are cut in two."""
    live, backup, inputs, at = await lived(databases, seed)
    chance, stood = random.Random(f"cut {seed}"), await heads(backup)  # noqa: S311
    cut = {lane: chance.randint(stood[lane], end) for lane, end in (await heads(live)).items()}
    rows = [row for row in await journal(live) if row[1] < cut[row[0]]]
    halves = Counter(frozenset((row[2], other)) for row in rows if (other := counterpart(row[3])))
    halved = sum(count == 1 for count in halves.values())
    assert halved
    await take_back(backup, rows)
    handler = await level(backup, Profile(UTC))
    completed = await journal(backup)
    assert len(completed) == len(rows) + halved
    await inputs.read(backup, handler, at, chance)
    now = await journal(backup)
    assert [row for row in now if row[1] < cut[row[0]]] == rows
    said_of = Counter(msgspec.json.decode(row[3])["id"] for row in now)
    assert {id: count for id, count in said_of.items() if count > 1} == {}
    came = {msgspec.json.decode(each.value)["id"] for each in (r for rs in inputs.topics.values() for r in rs)}
    assert came <= said_of.keys()
    left: set[str] = set()
    for _, _, key, value in now:  # of one key all lies in one partition
        assert key not in left
        left |= {key} if msgspec.json.decode(value)["type"] == "customer.left.v1" else set()
    merged = {other for row in now if b"customer.merged.v1" in row[3] and (other := counterpart(row[3]))}
    assert merged == left
    await consistent(backup)
    await live.close()
    await backup.close()


@pytest.mark.parametrize("sent", [("customer.left.v1",), ("customer.left.v1", "customer.merged.v1")])
async def test_who_takes_over_may_be_known_by_nothing_else(
    databases: Databases[Settings], sent: tuple[str, ...]
) -> None:
    """One alias makes a user and merges a device into them; what names the user was never sent."""
    inputs, chance = Inputs(), random.Random(1)  # noqa: S311
    live = await opened(lost := databases.fresh())
    inputs.say(said("page", device="a1", message="m1"))
    at = await inputs.read(live, Profile(UTC), {}, chance)
    await live.close()
    backup, live = await opened(databases.copy(lost)), await opened(lost)
    inputs.say(said("alias", "u1", "b1", message="m2", previousId="a1"), said("track", "u1", message="m3"))
    await inputs.read(live, Profile(UTC), dict(at), chance)
    await take_back(backup, [row for row in await journal(live) if msgspec.json.decode(row[3])["type"] in sent])
    await inputs.read(backup, await level(backup, Profile(UTC)), at, chance)
    rows = await backup.pool.fetch("SELECT DISTINCT customer FROM profile.identifiers")
    refs = await backup.pool.fetchval("SELECT count(*) FROM profile.identifiers")
    assert (len(rows), refs) == (1, 3)
    said_of = Counter(msgspec.json.decode(row[3])["id"] for row in await journal(backup))
    assert set(said_of.values()) == {1}
    await consistent(backup)
    await live.close()
    await backup.close()


async def test_one_event_of_two_partitions_is_journalled_by_both_and_not_by_a_duplicate(
    databases: Databases[Settings],
) -> None:
    inputs, chance = Inputs(), random.Random(1)  # noqa: S311
    live = await opened(lost := databases.fresh())
    await live.close()
    backup, live = await opened(databases.copy(lost)), await opened(lost)
    inputs.say(*[said("page", device="a1", message="m1") for _ in range(8)], said("page", device="b2", message="m1"))
    assert lane("a1") != lane("b2")
    await inputs.read(live, Profile(UTC), {}, chance)
    rows = await journal(live)
    assert len(rows) == 2
    await take_back(backup, rows)
    handler = await level(backup, Profile(UTC))
    first = Inputs()
    where = Where(EVENTS, lane("a1"))
    first.topics[where] = inputs.topics[where]
    stands = await first.read(backup, handler, {}, chance)
    await inputs.read(backup, handler, stands, chance)
    assert await journal(backup) == rows
    assert await told(backup) == await told(live)
    await live.close()
    await backup.close()


async def test_two_processes_do_not_put_back_at_once(databases: Databases[Settings]) -> None:
    live, backup, _, _ = await lived(databases, 1)
    await take_back(backup, await journal(live))
    async with backup.transaction() as tx:
        await tx.execute("SELECT pg_advisory_xact_lock($1)", LOCK)
        with pytest.raises(Unavailable, match="another process of profile"):
            await level(backup, Profile(UTC))
    assert await backup.pool.fetch("SELECT * FROM log.imported")
    await level(backup, Profile(UTC))
    await live.close()
    await backup.close()
