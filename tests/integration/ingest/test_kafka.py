"""On Kafka: events go there, PostgreSQL may be away, and a broker that is away is answered 503."""

import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from deploy.local.kafka import Kafka
from deploy.local.postgres import Postgres
from libs.common.contracts.records import decode
from libs.common.log.partition import partition_of
from tests.integration.ingest.conftest import ADMIN, Ingest, add_source, new_database
from tests.support import eventually

PREFIX = f"{uuid.uuid4().hex}."
TOPIC = f"{PREFIX}ingest.events"


@pytest.fixture
def own_postgres(tmp_path: Path) -> Iterator[Postgres]:
    server = Postgres(tmp_path / "postgres", fsync=False)
    server.start()
    yield server
    server.stop()


@pytest.fixture
async def ingest_on_kafka(own_kafka: Kafka, own_postgres: Postgres, tmp_path: Path) -> AsyncIterator[Ingest]:
    service = Ingest(
        await new_database(own_postgres),
        tmp_path / "log",
        RAPPORT_LOG="kafka",
        RAPPORT_KAFKA_BOOTSTRAP=own_kafka.bootstrap,
        RAPPORT_TOPIC_PREFIX=PREFIX,
        RAPPORT_INGEST_APPEND_DEADLINE="8",
    )
    try:
        await service.ready()
        yield service
    finally:
        service.stop()


async def _ids(bootstrap: str, key: str) -> list[str]:
    """The messageIds on the partition of a key, in their order."""
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, auto_offset_reset="none", enable_auto_commit=False)
    await consumer.start()
    try:
        partition = TopicPartition(TOPIC, partition_of(key, 8))
        consumer.assign([partition])
        end = (await consumer.end_offsets([partition]))[partition]
        await consumer.seek_to_beginning(partition)
        messages = [await consumer.getone() for _ in range(end)]
    finally:
        await consumer.stop()
    assert all(message.key == key.encode() for message in messages)
    return [decode(message.value).id for message in messages]


def _event(number: int) -> dict[str, str]:
    return {"type": "track", "event": "X", "userId": "ann", "anonymousId": "a1", "messageId": f"m{number}"}


async def test_events_on_kafka(ingest_on_kafka: Ingest, own_kafka: Kafka, own_postgres: Postgres) -> None:
    source = await add_source(ingest_on_kafka)
    unused = await add_source(ingest_on_kafka)
    answer = await source.post("/v1/batch", {"batch": [_event(number) for number in range(100)]})
    assert answer.status_code == 200
    stored = await _ids(own_kafka.bootstrap, "a1")
    assert len(set(stored)) == 100
    again = await source.post("/v1/batch", {"batch": [_event(number) for number in range(100)]})
    assert again.status_code == 200
    assert await _ids(own_kafka.bootstrap, "a1") == stored * 2  # in order; retries have the same ids
    async with httpx.AsyncClient(base_url=ingest_on_kafka.url, timeout=30) as client:
        drafted = await client.post("/v1/tracking-plan/infer", params={"source": source.name}, headers=ADMIN)
    assert drafted.json()["added"] == [{"event": "X", "seen": 200}]

    own_postgres.kill()
    for number in range(100, 110):
        answer = await source.post("/v1/track", _event(number))
        assert answer.status_code == 200
    rejected = await source.post("/v1/batch", {"batch": [{"type": "track"}, _event(110)]})
    assert [result["status"] for result in rejected.json()["results"]] == ["rejected", "ok"]
    assert (await unused.post("/v1/track", _event(0))).status_code == 503
    async with httpx.AsyncClient(base_url=ingest_on_kafka.url, timeout=10) as client:
        ready = await client.get("/readyz")
        assert ready.status_code == 200
        assert "cached write keys" in ready.json()["checks"]["postgres"]["detail"]
    assert len(await _ids(own_kafka.bootstrap, "a1")) == 211

    own_kafka.kill()
    away = await source.post("/v1/track", _event(111))
    assert away.status_code == 503
    assert "retry-after" in away.headers
    own_kafka.launch()
    own_kafka.wait_ready()

    async def taken() -> bool:
        return (await source.post("/v1/track", _event(112))).status_code == 200

    await eventually(taken)
    own_postgres.launch()
    own_postgres.wait_ready()

    async def known() -> bool:
        return (await unused.post("/v1/track", _event(113))).status_code == 200

    await eventually(known)
