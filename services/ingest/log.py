"""Where accepted events go: `ingest.events`, in PostgreSQL or in Kafka. Both return only when the events are safe."""

from collections.abc import Sequence
from typing import Protocol

from libs.common.db import UNAVAILABLE, is_data_error
from libs.common.errors import Unavailable
from libs.common.log.append import Outgoing, append
from libs.common.postgres import Postgres
from libs.common.service import Check
from libs.common.settings import Settings
from libs.common.topics import EVENTS


class Log(Protocol):
    """`append` is durable for all records or raises: Unavailable when the log is away (then some may be in it all the
    same, and a retry has the same record ids), anything else when the records themselves are refused."""

    async def append(self, records: Sequence[Outgoing]) -> None: ...


class Producer(Protocol):
    """What is used of `libs.common.log.kafka.Producer`."""

    async def start(self) -> None: ...

    async def stop(self) -> None: ...

    async def send(self, topic: str, records: Sequence[Outgoing]) -> None: ...


class PostgresLog:
    """Appends in a transaction of its own: all of the records are committed, or none."""

    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres

    async def append(self, records: Sequence[Outgoing]) -> None:
        partitions = self._postgres.settings.partitions
        try:
            async with self._postgres.database.transaction() as tx:
                await append(tx, EVENTS, records, partitions)
        except UNAVAILABLE as error:
            if is_data_error(error):
                raise
            raise Unavailable(f"the log cannot be written just now: {type(error).__name__}") from error


class KafkaLog:
    """Sends through the idempotent producer: acknowledged by the brokers, all of them, or Unavailable."""

    name = "kafka"

    def __init__(self, producer: Producer) -> None:
        self._producer = producer

    async def start(self) -> None:
        await self._producer.start()

    async def stop(self) -> None:
        await self._producer.stop()

    async def check(self) -> Check:
        return Check(True, "the producer is connected")

    async def append(self, records: Sequence[Outgoing]) -> None:
        await self._producer.send(EVENTS, records)


def kafka(settings: Settings) -> KafkaLog:
    """Kafka as the log. (Its client is only imported where it is used.)"""
    from libs.common.log.kafka import Producer as KafkaProducer

    return KafkaLog(KafkaProducer(settings))
