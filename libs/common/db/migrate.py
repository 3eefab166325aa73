"""Migrations: one Alembic history for the log and one for each service, run as a separate step.

`services.migrate` migrates the databases of all services. A service itself only checks (`libs.common.db.schema`).
"""

from typing import cast

from alembic import command, context
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, MetaData, text
from sqlalchemy.ext.asyncio import create_async_engine

from libs.common.contracts.registry import SERVICES, TOPIC_NAMES
from libs.common.db.locks import Lock
from libs.common.db.pool import Tx
from libs.common.db.schema import refuse_other_partitions, revisions, scripts
from libs.common.settings import Settings


def _config(history: str, connection: Connection | None = None) -> Config:
    config = Config()
    config.set_main_option("script_location", str(scripts(history)))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    config.attributes["history"] = history
    return config


def run_env(metadata: MetaData) -> None:
    """Run the migrations on the connection that `migrate` opened. Each history's env.py calls it."""
    config = context.config
    context.configure(
        connection=config.attributes["connection"],
        target_metadata=metadata,
        version_table="alembic_version",
        version_table_schema=config.attributes["history"],
        include_schemas=True,
        include_name=lambda name, kind, _: kind != "schema" or name == config.attributes["history"],
    )
    with context.begin_transaction():
        context.run_migrations()


def _upgrade(connection: Connection, history: str) -> None:
    connection.execute(text(f'CREATE SCHEMA IF NOT EXISTS "{history}"'))
    migrations = MigrationContext.configure(connection, opts={"version_table_schema": history})
    found = migrations.get_current_revision()
    if found is not None and found not in revisions(history):  # a later release migrated it
        print(f"{history} is at {found}, which is newer than this release: left as it is")
        return
    command.upgrade(_config(history, connection), "head")


async def migrate(settings: Settings, histories: tuple[str, ...] = ("log", *SERVICES)) -> None:
    """Migrate a database to the newest schema of `histories`, and set the log up for `settings.partitions`. Commits.

    Safe to run at any time, also concurrently. Raises Unavailable if the database has another number of partitions.
    """
    url = settings.dsn.replace("postgresql://", "postgresql+asyncpg://")
    engine = create_async_engine(url, connect_args={"ssl": settings.database_ssl()})
    try:
        async with engine.connect() as lock:
            await lock.execute(text(f"SELECT pg_advisory_lock({Lock.MIGRATION})"))
            for history in histories:
                async with engine.begin() as connection:
                    await connection.run_sync(_upgrade, history)
            await lock.execute(text(f"SELECT pg_advisory_unlock({Lock.MIGRATION})"))
        async with engine.begin() as connection:
            raw = (await connection.get_raw_connection()).driver_connection
            await install(cast("Tx", raw), settings.partitions)
    finally:
        await engine.dispose()


async def install(tx: Tx, partitions: int) -> None:
    """Create the heads of all topics. Raises Unavailable if the log has another number of partitions."""
    await tx.execute("INSERT INTO log.installation (partitions) VALUES ($1) ON CONFLICT DO NOTHING", partitions)
    await refuse_other_partitions(tx, partitions)
    await tx.execute(
        "INSERT INTO log.heads (topic, partition) SELECT topic, partition FROM unnest($1::text[]) topic,"
        " generate_series(0, $2::int - 1) partition ON CONFLICT DO NOTHING",
        list(TOPIC_NAMES),
        partitions,
    )
