"""Profile's database is an older backup, its journal has come back from Kafka: the state follows from the journal's end."""

import random
import uuid
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from datetime import UTC
from typing import Any

import msgspec
import pytest
from pydantic import SecretStr

from deploy.local.postgres import Postgres
from libs.common.db import Database
from libs.common.errors import Unavailable
from libs.common.fold.work import Handler, Work
from libs.common.log.append import Outgoing, append
from libs.common.log.reader import Record, Where
from libs.common.settings import Settings
from libs.common.topics import EVENTS, JOURNAL, REWARDS
from services.profile.domain import state
from services.profile.handler import Profile
from services.profile.restored import KNOWN, LOCK, PassingOver, level
from tests.integration.profile.said import NOON, lane, said
from tests.integration.profile.test_facts import badge

LANES = 8
#: Of each partition of the journal, up to which offset it had been sent.
Sent = Mapping[int, int]


class Inputs:
    """What ingest and rewards have said, and the profile that reads it, at its own pace in each partition."""

    def __init__(self) -> None:
        self.topics: dict[Where, list[Outgoing]] = defaultdict(list)

    def say(self, *records: Outgoing, topic: str = EVENTS) -> None:
        for record in records:
            self.topics[Where(topic, lane(record.key))].append(record)

    async def read(
        self, database: Database, handler: Handler, stands: dict[Where, int], chance: random.Random
    ) -> dict[Where, int]:
        """Fold everything, in batches of chance, from where each partition stands."""
        while open := [where for where in sorted(self.topics) if stands.get(where, 0) < len(self.topics[where])]:
            works = []
            for where in chance.sample(open, min(len(open), chance.choice((1, 1, 2)))):
                first = stands.get(where, 0)
                batch = self.topics[where][first : first + chance.choice((1, 2, 5))]
                records = [
                    Record(*where, first + place, each.key, each.value, NOON, first + place)
                    for place, each in enumerate(batch)
                ]
                works.append(Work(where, records, 0, first))
                stands[where] = first + len(batch)
            async with database.transaction() as tx:
                outcome = await handler.apply(tx, works)
                await append(tx, JOURNAL, outcome.outgoing, LANES)
            for done in outcome.committed:
                done()
        return stands


def history(chance: random.Random, name: str, length: int) -> list[Outgoing]:
    """Devices and users that meet, part and meet again; orders and refunds, renames, and what is sent twice."""
    events: list[Outgoing] = []
    for number in range(length):
        user, device = chance.choice((None, f"u{chance.randrange(12)}")), f"d{chance.randrange(30)}"
        message, minute = f"{name}{number}", chance.randrange(5000)
        match chance.randrange(6):
            case 0 if user:
                events.append(
                    said("identify", user, device, message=message, minute=minute, traits={f"t{number % 5}": number})
                )
            case 1 if user:
                previous = f"d{chance.randrange(30)}"
                events.append(said("alias", user, device, message=message, minute=minute, previousId=previous))
            case 2:
                properties = {"order_id": f"o{number % 40}", "revenue": chance.randrange(1, 900), "currency": "EUR"}
                kind = chance.choice(("Order Completed", "Order Completed", "Order Refunded"))
                events.append(
                    said("track", user, device, message=message, minute=minute, event=kind, properties=properties)
                )
            case _:
                events.append(said("track", user, device, message=message, minute=minute))
        if chance.random() < 0.1:
            events.append(chance.choice(events))
    return events


class World:
    """Databases that were one once."""

    def __init__(self, postgres: Postgres, settings: Settings) -> None:
        self._postgres, self._settings = postgres, settings

    def make(self, template: str = "template_rapport") -> str:
        self._postgres.create_database(name := f"profile_{uuid.uuid4().hex}", template=template)
        return name

    async def open(self, name: str) -> Database:
        dsn = SecretStr(self._postgres.dsn(name))
        return await Database.connect(self._settings.model_copy(update={"database_url": dsn}), "profile")


@pytest.fixture
def world(postgres: Postgres, settings: Settings) -> World:
    return World(postgres, settings)


async def journal(database: Database) -> list[tuple[Any, ...]]:
    query = f'SELECT partition, "offset", key, value FROM log."{JOURNAL}" ORDER BY 1, 2'
    return [tuple(row) for row in await database.pool.fetch(query)]


async def heads(database: Database) -> dict[int, int]:
    query = "SELECT partition, next FROM log.heads WHERE topic = $1"
    return {row[0]: row[1] for row in await database.pool.fetch(query, JOURNAL)}


async def take_back(database: Database, rows: Sequence[tuple[Any, ...]]) -> None:
    """The end of the journal, as it comes back from Kafka."""
    stood = await heads(database)
    async with database.transaction() as tx:
        for partition, offset, key, value in rows:
            if offset < stood[partition]:
                continue
            await tx.execute(
                f'INSERT INTO log."{JOURNAL}" (partition, "offset", key, time, value) VALUES ($1, $2, $3, $4, $5)',
                partition, offset, key, NOON, value,
            )  # fmt: skip
            await tx.execute(
                "UPDATE log.heads SET next = $3 WHERE topic = $1 AND partition = $2", JOURNAL, partition, offset + 1
            )
            await tx.execute(
                "INSERT INTO log.imported (topic, partition, first) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
                JOURNAL, partition, offset,
            )  # fmt: skip


async def told(database: Database) -> dict[str, Any]:
    """Everything that profile knows."""
    pool = database.pool
    customers = await pool.fetch(
        "SELECT id, state, went_into, user_id, orders, first_seen, last_seen FROM profile.customers ORDER BY id"
    )
    counters = await pool.fetch(
        "SELECT day, counter, source, sum(count)::bigint FROM profile.counters WHERE counter NOT LIKE 'refused:%'"
        " GROUP BY 1, 2, 3 HAVING sum(count) <> 0 ORDER BY 1, 2, 3"
    )
    return {
        "customers": {row[0]: (plain(row[1]), *row[2:]) for row in customers},
        "identifiers": sorted(map(tuple, await pool.fetch("SELECT * FROM profile.identifiers"))),
        "seen": sorted(map(tuple, await pool.fetch("SELECT partition, id, week FROM profile.seen"))),
        "counters": [tuple(row) for row in counters],
    }


def plain(stored: bytes) -> Any:
    """A state without the order in which its identifiers came, which means nothing."""
    return msgspec.json.decode(state.encode(state.decode(stored)))


async def facts_of(database: Database, name: str, chance: random.Random) -> list[Outgoing]:
    """What rewards has decided about customers whom it knows, gone ones among them."""
    rows = await database.pool.fetch("SELECT id FROM profile.customers ORDER BY id")
    return [badge(str(row[0]), number + 100 * len(name)) for number, row in enumerate(rows) if chance.random() < 0.5]


async def lived(world: World, seed: int) -> tuple[Database, Database, Inputs, dict[Where, int]]:
    """A database and its backup, which stands elsewhere; both have read of the same inputs."""
    chance, inputs = random.Random(seed), Inputs()  # noqa: S311 (a seed is the point)
    live = await world.open(name := world.make())
    inputs.say(*history(chance, "before", 40))
    stands = await inputs.read(live, Profile(UTC), {}, chance)
    await live.close()
    backup = await world.open(world.make(name))
    live = await world.open(name)
    at, handler = dict(stands), Profile(UTC)
    for part in ("a", "bb", "ccc"):
        inputs.say(*await facts_of(live, part, chance), topic=REWARDS)
        inputs.say(*history(chance, part, 40))
        await inputs.read(live, handler, stands, chance)
    return live, backup, inputs, at


@pytest.mark.parametrize("seed", range(3))
async def test_the_state_follows_from_the_journal_and_nothing_is_written_again(world: World, seed: int) -> None:
    live, backup, inputs, at = await lived(world, seed)
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
async def test_what_was_never_sent_is_decided_anew_and_halves_of_merges_are_completed(world: World, seed: int) -> None:
    """Of each partition of the journal another part was sent: merges, and what one event led to, are cut in two."""
    live, backup, inputs, at = await lived(world, seed)
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


def counterpart(value: bytes) -> str | None:
    record = msgspec.json.decode(value)
    return {"customer.left.v1": "into", "customer.merged.v1": "other"}.get(record["type"]) and str(
        record["data"]["into" if record["type"] == "customer.left.v1" else "other"]
    )


async def consistent(database: Database) -> None:
    """Identifiers and customers say the same, and nobody who has left is led to."""
    customers = {row[0]: row for row in await database.pool.fetch("SELECT id, state, went_into FROM profile.customers")}
    led = {
        (row[0], f"{row[1]}:{row[2]}", row[3])
        for row in await database.pool.fetch("SELECT customer, kind, value, version FROM profile.identifiers")
    }
    held = {
        (id, ref, version) for id, row in customers.items() for ref, version in state.decode(row[1]).identifiers.items()
    }
    assert led == held
    assert not [id for id, _, _ in led if customers[id]["went_into"]]
    users = Counter(ref for _, ref, _ in led if ref.startswith("user:"))
    assert all(count == 1 for count in users.values())
    living = [id for id, row in customers.items() if row["went_into"] is None]
    totals = dict(await database.pool.fetch("SELECT counter, sum(count)::bigint FROM profile.counters GROUP BY 1"))
    assert totals["customers"] == len(living)
    assert totals["identified"] == sum(state.decode(customers[id][1]).user is not None for id in living)


@pytest.mark.parametrize("sent", [("customer.left.v1",), ("customer.left.v1", "customer.merged.v1")])
async def test_who_takes_over_may_be_known_by_nothing_else(world: World, sent: tuple[str, ...]) -> None:
    """One alias makes a user and merges a device into them; what names the user was never sent."""
    inputs, chance = Inputs(), random.Random(1)  # noqa: S311
    live = await world.open(name := world.make())
    inputs.say(said("page", device="a1", message="m1"))
    at = await inputs.read(live, Profile(UTC), {}, chance)
    await live.close()
    backup, live = await world.open(world.make(name)), await world.open(name)
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


async def test_one_event_of_two_partitions_is_journalled_by_both_and_not_by_a_duplicate(world: World) -> None:
    inputs, chance = Inputs(), random.Random(1)  # noqa: S311
    live = await world.open(name := world.make())
    await live.close()
    backup, live = await world.open(world.make(name)), await world.open(name)
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


async def test_two_processes_do_not_put_back_at_once(world: World) -> None:
    live, backup, _, _ = await lived(world, 1)
    await take_back(backup, await journal(live))
    async with backup.transaction() as tx:
        await tx.execute("SELECT pg_advisory_xact_lock($1)", LOCK)
        with pytest.raises(Unavailable, match="another process of profile"):
            await level(backup, Profile(UTC))
    assert await backup.pool.fetch("SELECT * FROM log.imported")
    await level(backup, Profile(UTC))
    await live.close()
    await backup.close()
