"""A later release's migrations run while the processes of this one are at work, and these go on with the newer schema."""

import asyncio
import shutil
import subprocess
import sys
from pathlib import Path

import asyncpg
import httpx

from deploy.demo.api import Api
from deploy.local.platform import Platform
from deploy.local.service import ROOT
from libs.common.contracts.registry import SERVICES
from libs.common.db.schema import revisions, scripts
from tests.operations.shop import Shop
from tests.support import eventually

#: What a release may do: add. Each table that the processes write at that moment gets a column, and there is a new one.
LATER = """
import sqlalchemy as sa
from alembic import op

revision = "9000"
down_revision = "{newest}"


def upgrade() -> None:
    op.add_column("{table}", sa.Column("of_a_later_release", sa.Text, server_default="x"), schema="{schema}")
    op.create_table("later", sa.Column("id", sa.Uuid, primary_key=True), schema="{schema}")
"""
TABLES = {"log": "heads", "ingest": "sources", "profile": "positions", "rewards": "positions", "triggers": "deliveries",
          "metrics": "positions"}  # fmt: skip


def release(folder: Path) -> Path:
    """This release's code with one more migration in each history."""
    for name in ("libs", "services"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for schema, table in TABLES.items():
        (newest, place) = (revisions(schema)[-1], folder / scripts(schema).relative_to(ROOT) / "versions")
        (place / "9000_later.py").write_text(LATER.format(newest=newest, table=table, schema=schema))
    return folder


async def test_migrations_run_while_the_older_processes_are_at_work(
    platform: Platform, api: Api, tmp_path: Path
) -> None:
    later = release(tmp_path)
    shop = Shop(platform)
    await shop.open(api)
    pids = {name: service.pid for name, service in platform.services.items()}
    selling = asyncio.create_task(shop.sell(60))
    argv = [sys.executable, "-m", "services.migrate"]
    environment = {**platform.environment("ingest"), "PYTHONPATH": str(later)}
    done = await asyncio.to_thread(
        subprocess.run, argv, cwd=later, env=environment, capture_output=True, text=True, timeout=100
    )
    assert done.returncode == 0, done.stderr
    await selling
    await shop.sell(5)
    await shop.credited()
    assert {name: service.pid for name, service in platform.services.items()} == pids
    connection = await asyncpg.connect(platform.dsn)
    try:
        for schema in ("log", *SERVICES):
            assert await connection.fetchval(f'SELECT version_num FROM "{schema}".alembic_version') == "9000"
    finally:
        await connection.close()

    # the upgrade is taken back: this release's own migration leaves what is newer as it is
    again = await asyncio.to_thread(
        subprocess.run, argv, cwd=ROOT, env=platform.environment("ingest"), capture_output=True, text=True, timeout=100
    )
    assert again.returncode == 0, again.stderr
    assert "rewards is at 9000, which is newer than this release: left as it is" in again.stdout
    platform.services["rewards"].kill()  # the runner starts it again, on a schema that is newer than it knows

    async def back() -> bool:
        try:
            async with httpx.AsyncClient(timeout=60) as client:
                answer = await client.get(f"{platform.urls['rewards']}/readyz")
        except httpx.TransportError:
            return False
        return answer.status_code == 200 and platform.services["rewards"].pid != pids["rewards"]

    await eventually(back)
    await shop.sell(5)
    await shop.credited()
