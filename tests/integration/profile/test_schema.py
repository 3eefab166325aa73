"""The migrations make exactly the tables that the code speaks of."""

from typing import Any

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import create_async_engine

from libs.common.settings import Settings
from services.profile.models import metadata


async def test_migrations_and_models_agree(settings: Settings) -> None:
    engine = create_async_engine(settings.dsn.replace("postgresql://", "postgresql+asyncpg://"))
    async with engine.connect() as connection:
        differences = await connection.run_sync(_differences)
    await engine.dispose()
    assert differences == []


def _differences(connection: Connection) -> list[Any]:
    def ours(name: str | None, kind: str, _: object) -> bool:
        return kind != "schema" or name == "profile"

    options = {
        "include_schemas": True,
        "include_name": ours,
        "version_table_schema": "profile",
        "compare_server_default": True,
    }
    return list(compare_metadata(MigrationContext.configure(connection, opts=options), metadata))
