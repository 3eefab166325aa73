"""Where accepted events go: `ingest.events`, in PostgreSQL or in Kafka. Both return only when the events are safe."""

from collections.abc import Sequence
from typing import Protocol

from libs.common.contracts.ingest import EVENTS
from libs.common.contracts.records import as_imported
from libs.common.db.errors import UNAVAILABLE, is_data_error
from libs.common.errors import Unavailable
from libs.common.log import move_to_kafka
from libs.common.log.append import Outgoing, append_alone
from libs.common.log.kafka import Producer, check_topics, ensure_topics, tail
from libs.common.log.newest import newest
from libs.common.log.notifier import Notifier
from libs.common.observability.log_throttle import LogThrottle
from libs.common.observability.telemetry import log
from libs.common.runtime.component import Check
from libs.common.runtime.postgres import Postgres
from services.ingest.settings import Settings

logger = log("events")
_throttle = LogThrottle()


class Log(Protocol):
    """`append` is durable for all records or raises: Unavailable when the log is away (then some may be in it all the
    same, and a retry has the same record ids), anything else when the records themselves are refused.

    `newest` gives the values of a partition's last records. Raises Unavailable.
    """

    async def append(self, records: Sequence[Outgoing]) -> None: ...

    async def newest(self, partition: int, most: int) -> list[bytes]: ...


class PostgresLog:
    """Appends in a transaction of its own: all of the records are committed, or none. A component, after its database."""

    name = "log"

    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres
        self._notifier: Notifier | None = None

    async def start(self) -> None:
        self._notifier = Notifier(self._postgres.database)

    async def stop(self) -> None:
        if self._notifier:
            await self._notifier.stop()

    async def check(self) -> Check:
        """The database speaks for it."""
        return Check(True)

    async def append(self, records: Sequence[Outgoing]) -> None:
        partitions = self._postgres.settings.partitions
        if self._notifier is None:
            raise Unavailable("the log is not open yet")
        try:
            await append_alone(self._postgres.database, self._notifier, EVENTS, records, partitions)
        except UNAVAILABLE as error:
            if is_data_error(error):
                raise
            # asyncpg's frames hold their error and it them, and with them the records, till the next collection
            raise _away(error) from error.with_traceback(None)

    async def newest(self, partition: int, most: int) -> list[bytes]:
        async with self._postgres.database.connection() as connection:
            return await newest(connection, EVENTS, partition, most)


class ImportedLog:
    """Another log, for the events of imports: marks them, so that nothing that follows from them sends a message."""

    def __init__(self, log: Log) -> None:
        self._log = log

    async def append(self, records: Sequence[Outgoing]) -> None:
        await self._log.append([record._replace(value=as_imported(record.value)) for record in records])

    async def newest(self, partition: int, most: int) -> list[bytes]:
        return await self._log.newest(partition, most)


class KafkaLog:
    """Sends through the idempotent producer: acknowledged by the brokers, all of the records, or Unavailable."""

    name = "kafka"

    def __init__(self, settings: Settings, postgres: Postgres) -> None:
        self._settings = settings
        self._postgres = postgres
        self._producer = Producer(settings, settings.append_deadline)

    async def start(self) -> None:
        """Make the topic if it is missing, and connect. Raises Unavailable; also when events are still in PostgreSQL."""
        async with self._postgres.database.connection() as tx:
            await move_to_kafka.refuse_unclosed(tx)
        await ensure_topics(self._settings, [EVENTS])
        await self._producer.start()

    async def stop(self) -> None:
        await self._producer.stop()

    async def check(self) -> Check:
        await check_topics(self._settings, [EVENTS])
        return Check(True, "the brokers answer")

    async def append(self, records: Sequence[Outgoing]) -> None:
        try:
            await self._producer.send(EVENTS, records)
        except Unavailable as error:
            raise _away(error) from error

    async def newest(self, partition: int, most: int) -> list[bytes]:
        return await tail.newest(self._settings, EVENTS, partition, most)


def _away(error: Exception) -> Unavailable:
    """The error for clients; the log lines say more."""
    if (times := _throttle.due(type(error))) is not None:
        logger.warning("events cannot be stored", error=f"{type(error).__name__}: {error}", times=times)
    return Unavailable("the log cannot be written just now: send the events again", retry_after=1)
