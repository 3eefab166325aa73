"""A profile that was lost: what it had read, its journal's end as Kafka gives it back, and a backup that stands elsewhere."""

import random
from collections import Counter, defaultdict
from collections.abc import Sequence
from datetime import UTC
from typing import Any

import msgspec

from libs.common.contracts.ingest import EVENTS
from libs.common.contracts.profile import JOURNAL
from libs.common.contracts.rewards import REWARDS
from libs.common.db.pool import Database
from libs.common.fold.work import Handler, Work
from libs.common.log.append import Outgoing, append
from libs.common.log.reader import Record, Where
from libs.common.settings import Settings
from services.profile.domain import state
from services.profile.handler import Profile
from tests.integration.backups import Databases
from tests.integration.profile.said import NOON, lane, said
from tests.integration.profile.test_facts import badge

LANES = 8


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


async def opened(settings: Settings) -> Database:
    return await Database.connect(settings, "profile")


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


async def lived(databases: Databases[Settings], seed: int) -> tuple[Database, Database, Inputs, dict[Where, int]]:
    """A database and its backup, which stands elsewhere; both have read of the same inputs."""
    chance, inputs = random.Random(seed), Inputs()  # noqa: S311 (a seed is the point)
    live = await opened(lost := databases.fresh())
    inputs.say(*history(chance, "before", 40))
    stands = await inputs.read(live, Profile(UTC), {}, chance)
    await live.close()
    backup = await opened(databases.copy(lost))
    live = await opened(lost)
    at, handler = dict(stands), Profile(UTC)
    for part in ("a", "bb", "ccc"):
        inputs.say(*await facts_of(live, part, chance), topic=REWARDS)
        inputs.say(*history(chance, part, 40))
        await inputs.read(live, handler, stands, chance)
    return live, backup, inputs, at


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
