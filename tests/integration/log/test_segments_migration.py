"""An installation from before there were segments keeps its records, under their offsets."""

from alembic import command
from pydantic import SecretStr
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import create_async_engine

from deploy.local.postgres import Postgres
from libs.common.contracts.profile import JOURNAL
from libs.common.contracts.registry import TOPIC_NAMES
from libs.common.db.migrate import _config, migrate
from libs.common.db.pool import Database
from libs.common.log import segments
from libs.common.log.append import append
from libs.common.log.postgres import PostgresReader
from libs.common.log.reader import Where
from libs.common.settings import Settings
from tests.integration.log.logs import PARTITIONS, START, key_in, numbered, read, values


def first_revision(connection: Connection) -> None:
    connection.execute(text("CREATE SCHEMA log"))
    command.upgrade(_config("log", connection), "0001")


async def test_records_stay_where_they_are_and_the_log_goes_on(postgres: Postgres) -> None:
    postgres.create_database("before_segments")
    settings = Settings(database_url=SecretStr(postgres.dsn("before_segments")))
    engine = create_async_engine(settings.dsn.replace("postgresql://", "postgresql+asyncpg://"))
    async with engine.begin() as connection:
        await connection.run_sync(first_revision)
        for topic in TOPIC_NAMES:
            await connection.execute(
                text(
                    "INSERT INTO log.heads (topic, partition, next) SELECT :topic, p, 30 FROM generate_series(0, 7) p"
                ),
                {"topic": topic},
            )
            await connection.exec_driver_sql(
                f'INSERT INTO log."{topic}" (partition, "offset", key, time, value)'
                " SELECT p, o, 'k', now(), convert_to(o::text, 'utf8') FROM generate_series(0, 7) p, generate_series(0, 29) o"
            )
        await connection.execute(
            text("UPDATE log.heads SET next = 1700123 WHERE topic = 'rewards.facts' AND partition = 2")
        )
    await engine.dispose()
    await migrate(settings, ("log",))
    database = await Database.connect(settings, "test")
    async with database.transaction() as tx:
        await append(tx, JOURNAL, numbered(key_in(5), range(30, 40)), PARTITIONS)
        bounds = {topic: [each[:2] for each in await segments.existing(tx, topic)] for topic in TOPIC_NAMES}
    assert bounds == {topic: [(0, 100_000)] for topic in TOPIC_NAMES} | {
        JOURNAL: [(0, 1_000_000)],
        "rewards.facts": [(0, 1_800_000)],
    }
    reader = PostgresReader(database, TOPIC_NAMES)
    await reader.start()
    assert values((await read(reader, Where(JOURNAL, 5), 40))[0]) == list(range(40))
    for topic in TOPIC_NAMES:
        assert values((await read(reader, Where(topic, 3), 30, START))[0]) == list(range(30))
    await reader.stop()
    await database.close()
