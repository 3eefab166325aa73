"""Both logs as one parameter: what is promised of the log is tested on each."""

from collections.abc import AsyncIterator

import pytest

from libs.common.db import Database
from libs.common.settings import Settings
from tests.integration.log.logs import KafkaLog, Log, PostgresLog


@pytest.fixture(params=["postgres", "kafka"])
async def log(request: pytest.FixtureRequest, settings: Settings, database: Database) -> AsyncIterator[Log]:
    """A log, empty and running."""
    if request.param == "kafka":
        made: Log = KafkaLog(request.getfixturevalue("kafka_settings"), database)
    else:
        made = PostgresLog(settings, database)
    await made.start()
    yield made
    await made.stop()


@pytest.fixture
async def kafka_log(kafka_settings: Settings, database: Database) -> AsyncIterator[KafkaLog]:
    """The log in Kafka, empty and running."""
    made = KafkaLog(kafka_settings, database)
    await made.start()
    yield made
    await made.stop()
