"""Migrations: twice at once, again, to a later release and back, and with another number of partitions than the log has."""

import asyncio
import os
import shutil
import sys
import uuid
from pathlib import Path

import pytest
from pydantic import SecretStr

from deploy.local.postgres import Postgres
from libs.common.contracts.registry import TOPIC_NAMES
from libs.common.db import schema
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


LATER = """
import sqlalchemy as sa
from alembic import op

revision = "9000"
down_revision = "{newest}"


def upgrade() -> None:
    op.add_column("positions", sa.Column("doubled", sa.BigInteger), schema="rewards")
    op.execute("UPDATE rewards.positions SET doubled = 2 * next")
"""


@pytest.fixture
def later(tmp_path: Path) -> Path:
    """The migrations of a later release: rewards' history has one more, which changes the rows that are there."""
    for history in ("log", "rewards"):
        shutil.copytree(schema.scripts(history), tmp_path / schema.scripts(history).relative_to(ROOT))
    versions = tmp_path / schema.scripts("rewards").relative_to(ROOT) / "versions"
    (versions / "9000_later.py").write_text(LATER.format(newest=schema.revisions("rewards")[-1]))
    return tmp_path


def release(monkeypatch: pytest.MonkeyPatch, root: Path) -> None:
    """From now on this process has the migrations of the release in `root`."""
    monkeypatch.setattr(schema, "ROOT", root)
    schema.revisions.cache_clear()


async def starts(settings: Settings) -> None:
    """Raises what keeps rewards from starting on its database."""
    part = Part(settings, "rewards", Meter("rewards"))
    await part.start()
    await part.stop()


async def test_a_following_migration_keeps_the_rows_and_services_wait_for_it(
    empty: Settings, later: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The later release refuses the schema until it is migrated; this release works on the newer one and leaves it."""
    newest = schema.revisions("rewards")[-1]
    await migrate(empty, ("log", "rewards"))
    database = await Database.connect(empty, "test")
    insert = "INSERT INTO rewards.positions (reader, topic, partition, next) VALUES ('fold', 'profile.journal', 3, 21)"
    await database.pool.execute(insert)
    try:
        release(monkeypatch, later)
        with pytest.raises(
            Unavailable, match=f"rewards is at {newest}, this release needs 9000: run `rapport migrate`"
        ):
            await starts(empty)
        await migrate(empty, ("log", "rewards"))
        await starts(empty)
        release(monkeypatch, ROOT)
        await starts(empty)
        await migrate(empty, ("log", "rewards"))
        assert "rewards is at 9000, which is newer than this release: left as it is" in capsys.readouterr().out
        rows = await database.pool.fetch("SELECT next, doubled FROM rewards.positions")
        assert [tuple(row) for row in rows] == [(21, 42)]
    finally:
        release(monkeypatch, ROOT)
        await database.close()
