"""Metrics' own database is restored from an older backup, with Kafka as the log."""

import random
import uuid
from collections.abc import AsyncIterator, Sequence
from datetime import date, timedelta

import pytest

from deploy.local.postgres import Postgres
from libs.common.contracts.metrics import METRICS
from libs.common.db.pool import Database
from libs.common.log.append import Outgoing
from libs.common.settings import Settings as CommonSettings
from services.metrics.replay import COMPARED
from services.metrics.settings import Settings
from tests.integration.backups import Databases, caught_up, journal_sent, rows
from tests.integration.metrics.conftest import Journal, cdnow_records, service
from tests.unit.metrics.cdnow import CALIBRATION_END, HOLDOUT_END

MIDDLE, END = CALIBRATION_END, HOLDOUT_END
#: What a fit says of a customer is made from its model, which only the database has.
OF_FITS = {"customers", "scores"}


class World:
    """Profile's database, whose journal goes to Kafka; and metrics' databases."""

    def __init__(self, profile: Database, databases: Databases[Settings]) -> None:
        self.journal = Journal(profile)
        self.databases = databases

    async def told(self, settings: Settings, *records: Outgoing) -> None:
        """Append to the journal; wait until metrics has folded it, and its facts are in Kafka."""
        await self.journal.append(records)
        await caught_up(self.journal.database, "metrics", settings)


@pytest.fixture
async def world(
    kafka_settings: CommonSettings, postgres: Postgres, template: str, database: Database
) -> AsyncIterator[World]:
    async with journal_sent(database, kafka_settings):
        yield World(database, Databases(postgres, kafka_settings, Settings))


async def tables(settings: Settings) -> dict[str, list[str]]:
    """Everything that must come out equal: states, what is queried (sums of nothing say nothing), the log."""
    found = {}
    for each in COMPARED:
        columns = ", ".join((*each.columns, *(f"sum({column})" for column in each.sums)))
        something = " OR ".join(f"sum({column}) <> 0" for column in each.sums)
        grouped = f" GROUP BY {', '.join(each.columns)} HAVING {something}" if each.sums else ""
        query = f"SELECT {columns} FROM metrics.{each.table} WHERE {each.where}{grouped}"
        found[each.table] = sorted(map(str, await rows(settings, query)))
    log = await rows(settings, f'SELECT partition, "offset", key, value FROM log."{METRICS}" ORDER BY 1, 2')
    return found | {"log": [str(row) for row in log]}


def history(
    journal: Journal, chance: random.Random, name: str, people: Sequence[uuid.UUID], day: date
) -> list[Outgoing]:
    """What comes beside CDNOW's orders: a few more of them, refunds, cancellations, visits."""
    said = []
    for number in range(30):
        who, order = chance.choice(people), f"{name}{number}"
        said.append(journal.order(who, order, day, chance.randrange(5, 90)))
        if chance.random() < 0.4:
            said.append(journal.event(who, "Order Refunded", day, order_id=order, revenue=chance.randrange(1, 90)))
        if chance.random() < 0.2:
            said.append(journal.event(who, "Order Cancelled", day, order_id=order))
        said.append(journal.event(chance.choice(people), "Product Viewed", day))
    return said


@pytest.mark.parametrize("fitted", [False, True], ids=["no fit since the backup", "a fit since the backup"])
async def test_a_restored_database_ends_as_the_one_that_was_lost(world: World, fitted: bool) -> None:
    chance, journal = random.Random(9), world.journal  # noqa: S311 (a fixed history)
    records = cdnow_records(8)
    people = sorted({uuid.UUID(record.key) for record in records})
    late = [record for record in records if record.time.date() > MIDDLE]
    live = world.databases.fresh()
    async with service(live, journal.database) as metrics:
        await world.told(live, *records[: -len(late)], *history(journal, chance, "before", people, MIDDLE))
        await metrics.fit(as_of=str(MIDDLE))
        await world.told(live)
    backup = world.databases.copy(live)
    async with service(live, journal.database) as metrics:
        for number, day in enumerate((MIDDLE + timedelta(days=9), MIDDLE + timedelta(days=90), END)):
            gone, stays = chance.sample(people, 2)
            await world.told(live, *late[number::3], *history(journal, chance, f"after{number}", people, day))
            if fitted and number == 1:
                assert (await metrics.fit(as_of=str(MIDDLE + timedelta(days=100))))["changed"]
            people.remove(gone)
            await world.told(live, *journal.merge(gone, stays))
    expected = await tables(live)
    async with service(backup, journal.database) as metrics:
        await world.told(backup)
        found = await tables(backup)
        for table in expected.keys() - (OF_FITS if fitted else set()):
            assert found[table] == expected[table], table
        stamps = "SELECT id, facts, went_into FROM metrics.customers ORDER BY id"
        assert await rows(backup, stamps) == await rows(live, stamps)
        assert not await rows(backup, "SELECT * FROM log.imported")
        await metrics.fit(as_of=str(END))  # after which all scores are of one fit
        await world.told(backup, *history(journal, chance, "later", people, END))
        assert await rows(backup, "SELECT count(DISTINCT fit) FROM metrics.scores") == [(1,)]
        said_of = await rows(backup, f"SELECT convert_from(value, 'UTF8')::json ->> 'id' FROM log.\"{METRICS}\"")
        assert len(set(said_of)) == len(said_of) > len(expected["log"])
