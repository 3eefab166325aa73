"""Every history of migrations makes exactly the tables that the code speaks of."""

import re
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, MetaData
from sqlalchemy.ext.asyncio import create_async_engine

from libs.common.contracts.registry import SERVICES
from libs.common.db import schema
from libs.common.log import tables as log
from libs.common.settings import Settings
from services.ingest import models as ingest
from services.metrics import models as metrics
from services.profile import models as profile
from services.rewards import models as rewards
from services.triggers import models as triggers

METADATA = [module.metadata for module in (log, ingest, profile, rewards, triggers, metrics)]


def named(name: str | None, kind: str, metadata: MetaData) -> bool:
    """Whether it is a schema of these models, or a table but not a segment of one (`rewards.facts.50000`)."""
    return name == metadata.schema if kind == "schema" else not re.search(r"\.\d+$", name or "")


@pytest.mark.parametrize("metadata", METADATA, ids=lambda metadata: metadata.schema)
async def test_the_migrations_make_the_tables_of_the_models(settings: Settings, metadata: MetaData) -> None:
    def differences(connection: Connection) -> list[Any]:
        options = {
            "include_schemas": True,
            "include_name": lambda name, kind, _: named(name, kind, metadata),
            "version_table_schema": metadata.schema,
            "compare_server_default": True,
        }
        return list(compare_metadata(MigrationContext.configure(connection, opts=options), metadata))

    engine = create_async_engine(settings.dsn.replace("postgresql://", "postgresql+asyncpg://"))
    async with engine.connect() as connection:
        found = await connection.run_sync(differences)
    await engine.dispose()
    assert found == []


@pytest.mark.parametrize("history", ["log", *SERVICES])
def test_a_file_is_named_after_its_revision(history: str) -> None:
    """Services know the newest revision by the files' names."""
    scripts = ScriptDirectory(str(schema.scripts(history)))
    assert tuple(reversed([script.revision for script in scripts.walk_revisions()])) == schema.revisions(history)


@pytest.mark.parametrize("history", ["log", *SERVICES])
def test_a_history_is_one_line(history: str) -> None:
    """One first revision, one head, and one successor of each: two that were numbered alike, or follow the same, are two lines."""
    scripts = ScriptDirectory(str(schema.scripts(history)))
    known = schema.revisions(history)
    assert scripts.get_heads() == [known[-1]]
    assert scripts.get_bases() == [known[0]]
    assert [script.down_revision for script in scripts.walk_revisions()] == [*reversed(known[:-1]), None]
    assert len(set(known)) == len(known)
