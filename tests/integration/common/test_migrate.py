"""Migrations: twice at once, again, and with another number of partitions than the log has."""

import asyncio
import os
import sys
import uuid

import pytest
from pydantic import SecretStr

from deploy.local.postgres import Postgres
from libs.common.contracts.registry import TOPIC_NAMES
from libs.common.db.migrate import migrate
from libs.common.db.pool import Database
from libs.common.db.schema import ROOT
from libs.common.errors import Unavailable
from libs.common.observability.telemetry import Meter
from libs.common.runtime.postgres import Postgres as Part
from libs.common.settings import Settings


@pytest.fixture
def empty(postgres: Postgres) -> Settings:
    """Settings of a database with nothing in it."""
    return Settings(database_url=SecretStr(postgres.create_database(f"test_{uuid.uuid4().hex}")), pool_size=3)


async def heads(settings: Settings) -> tuple[int, int]:
    """How many partitions the log says it has, and how many it has."""
    database = await Database.connect(settings, "test")
    async with database.connection() as tx:
        said = await tx.fetchval("SELECT partitions FROM log.installation")
        there = await tx.fetchval("SELECT count(*) FROM log.heads")
    await database.close()
    return said, there


async def test_twice_at_once_and_again(empty: Settings) -> None:
    argv = (sys.executable, "-m", "services.migrate")
    environment = {**os.environ, "RAPPORT_DATABASE_URL": empty.dsn}
    both = [await asyncio.create_subprocess_exec(*argv, env=environment, cwd=ROOT) for _ in range(2)]
    assert await asyncio.gather(*(process.wait() for process in both)) == [0, 0]
    await migrate(empty)
    assert await heads(empty) == (8, 8 * len(TOPIC_NAMES))


async def test_another_number_of_partitions_is_refused_and_changes_nothing(empty: Settings) -> None:
    """By the migration, also when two disagree at once, and by a service."""
    others = [empty.model_copy(update={"partitions": number}) for number in (4, 8)]
    results = await asyncio.gather(*(migrate(settings, ("log",)) for settings in others), return_exceptions=True)
    (refused,) = (result for result in results if result is not None)
    assert isinstance(refused, Unavailable)
    assert "the number cannot be changed, set RAPPORT_PARTITIONS=" in refused.detail
    said, there = await heads(empty)
    assert there == said * len(TOPIC_NAMES)
    await migrate(empty.model_copy(update={"partitions": said}), ("log", "rewards"))
    wrong = empty.model_copy(update={"partitions": 12 - said})
    with pytest.raises(Unavailable, match=f"has {said} partitions"):
        await Part(wrong, "rewards", Meter("rewards")).start()
