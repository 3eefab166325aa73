"""Group commit on the real log: who goes away or sends what cannot be stored takes nobody with them."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import asyncpg
import pytest
from pydantic import SecretStr

from deploy.local.postgres import Postgres
from libs.common.errors import Unavailable
from libs.common.log.append import Outgoing
from libs.common.observability.telemetry import Meter
from libs.common.runtime import postgres as component
from libs.common.settings import Settings
from services.ingest.commit import GroupCommit
from services.ingest.log import PostgresLog
from tests.integration.ingest.conftest import new_database
from tests.support import eventually


@pytest.fixture
async def store(postgres: Postgres) -> AsyncIterator[component.Postgres]:
    settings = Settings(database_url=SecretStr(await new_database(postgres)), pool_size=4)
    part = component.Postgres(settings, "ingest", Meter("ingest"))
    await part.start()
    yield part
    await part.stop()


def _record(text: str, key: str = "ann") -> Outgoing:
    return Outgoing(key, text.encode(), datetime.now(UTC))


async def _values(store: component.Postgres) -> list[str]:
    async with store.database.connection() as connection:
        rows = await connection.fetch('SELECT value FROM log."ingest.events" ORDER BY partition, "offset"')
    return [row["value"].decode() for row in rows]


async def _log(store: component.Postgres) -> PostgresLog:
    log = PostgresLog(store)
    await log.start()
    return log


async def _blocked(store: component.Postgres) -> "asyncpg.Connection[asyncpg.Record]":
    blocker: asyncpg.Connection[asyncpg.Record] = await asyncpg.connect(store.settings.dsn)
    await blocker.execute("BEGIN; LOCK TABLE log.heads IN EXCLUSIVE MODE")
    return blocker


async def test_requests_are_committed_together_and_in_order(store: component.Postgres) -> None:
    commit = GroupCommit(await _log(store), queue_limit=10_000, deadline=5)
    appends = (commit.append([_record(f"{number}a"), _record(f"{number}b")]) for number in range(200))
    await asyncio.gather(*appends)
    values = await _values(store)
    assert len(values) == 400
    places = {value: place for place, value in enumerate(values)}
    assert all(places[f"{number}b"] == places[f"{number}a"] + 1 for number in range(200))
    async with store.database.connection() as connection:
        transactions = await connection.fetchval('SELECT count(DISTINCT appended_at) FROM log."ingest.events"')
    assert transactions < 20


async def test_a_cancelled_request_loses_nothing_of_the_others(store: component.Postgres) -> None:
    commit = GroupCommit(await _log(store), queue_limit=10_000, deadline=5)
    blocker = await _blocked(store)
    tasks = [asyncio.create_task(commit.append([_record(str(number))])) for number in range(20)]

    async def waiting() -> bool:
        return bool(await blocker.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"))

    await eventually(waiting)
    for task in tasks[::2]:
        task.cancel()
    await blocker.execute("ROLLBACK")
    await blocker.close()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [isinstance(result, asyncio.CancelledError) for result in results] == [True, False] * 10
    assert {str(number) for number in range(1, 20, 2)} <= set(await _values(store))
    await commit.stop()
    with pytest.raises(Unavailable, match="stopping"):
        await commit.append([_record("late")])


async def test_what_the_log_refuses_fails_alone(store: component.Postgres) -> None:
    commit = GroupCommit(await _log(store), queue_limit=10_000, deadline=5)
    results = await asyncio.gather(
        commit.append([_record("before")]),
        commit.append([_record("bad", key="a\0b")]),
        commit.append([_record("x" * 900_001)]),
        commit.append([_record("after")]),
        return_exceptions=True,
    )
    assert [result is None for result in results] == [True, False, False, True]
    assert set(await _values(store)) == {"before", "after"}


async def test_the_queue_is_bounded(store: component.Postgres) -> None:
    commit = GroupCommit(await _log(store), queue_limit=5, deadline=1)
    blocker = await _blocked(store)
    results = await asyncio.gather(
        *(commit.append([_record(str(number))]) for number in range(20)), return_exceptions=True
    )
    assert all(isinstance(result, Unavailable) for result in results)
    assert any("too many events wait" in str(result) for result in results)
    assert any("did not answer" in str(result) for result in results)
    await blocker.execute("ROLLBACK")
    await blocker.close()
    await commit.append([_record("after")])
    assert "after" in await _values(store)
