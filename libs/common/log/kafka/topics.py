"""Kafka's topics: the writing service creates them; a topic with another number of partitions is refused."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError, for_code

from libs.common.errors import Unavailable
from libs.common.settings import Settings

#: Exceptions that mean that Kafka is unavailable.
KAFKA_ERRORS = (KafkaError, OSError, TimeoutError)
#: Kafka has copies; the log is kept in PostgreSQL.
RETENTION_DAYS = 7
#: Enough for a record of 900 KB with its key and headers.
LARGEST_BATCH = 1_048_576
TIMEOUT = 10.0
#: Seconds for one try to connect. A starting broker accepts connections early, but never answers those.
CONNECT_TIMEOUT = 3.0
#: Milliseconds between an aiokafka client's own retries.
RETRY_MS = 250
_ALREADY_EXISTS = 36


def kafka_name(settings: Settings, topic: str) -> str:
    """A topic's name in Kafka, with the installation's prefix."""
    return settings.topic_prefix + topic


async def ensure_topics(settings: Settings, topics: Sequence[str]) -> None:
    """Create missing topics. Safe to run at any time, also concurrently.

    Raises Unavailable if Kafka cannot be reached, or if a topic has another number of partitions than the settings.
    """
    configs = {
        "retention.ms": str(RETENTION_DAYS * 24 * 3600 * 1000),
        "max.message.bytes": str(LARGEST_BATCH),
        "compression.type": "producer",
        "cleanup.policy": "delete",
        "min.insync.replicas": "1" if settings.kafka_replication == 1 else "2",
    }
    async with admin_client(settings) as admin:
        known = await _partitions(admin)
        missing = [name for topic in topics if (name := kafka_name(settings, topic)) not in known]
        if missing:
            new = [
                NewTopic(name, settings.partitions, settings.kafka_replication, topic_configs=configs)
                for name in missing
            ]
            answer = await admin.create_topics(new, timeout_ms=int(TIMEOUT * 1000))
            for name, code, *message in answer.topic_errors:
                if code not in (0, _ALREADY_EXISTS):
                    raise Unavailable(f"Kafka cannot create the topic {name}: {message[0] or for_code(code).__name__}")
        while any(name not in known for name in missing):
            await asyncio.sleep(0.05)
            known = await _partitions(admin)
        _refuse_other_partitions(settings, topics, known)


async def check_topics(settings: Settings, topics: Sequence[str]) -> None:
    """Raises Unavailable if a topic is missing or has another number of partitions, or if Kafka cannot be reached."""
    async with admin_client(settings, CONNECT_TIMEOUT) as admin:
        _refuse_other_partitions(settings, topics, await _partitions(admin))


def _refuse_other_partitions(settings: Settings, topics: Sequence[str], known: dict[str, int]) -> None:
    for topic in topics:
        name = kafka_name(settings, topic)
        if name not in known:
            raise Unavailable(f"Kafka has no topic {name} yet: the service that writes it creates it")
        if known[name] != settings.partitions:
            raise Unavailable(
                f"Kafka's topic {name} has {known[name]} partitions, RAPPORT_PARTITIONS says {settings.partitions}: "
                f"the number cannot be changed, set RAPPORT_PARTITIONS={known[name]} or use another RAPPORT_TOPIC_PREFIX"
            )


async def _partitions(admin: Any) -> dict[str, int]:
    """The number of partitions of all topics. Asks for all, because asking for one may create it."""
    return {topic["topic"]: len(topic["partitions"]) for topic in await admin.describe_topics()}


@asynccontextmanager
async def admin_client(settings: Settings, seconds: float = TIMEOUT) -> AsyncIterator[Any]:
    """An admin client. Raises Unavailable for errors of Kafka and after so many seconds."""
    admin = AIOKafkaAdminClient(**settings.kafka_options(), request_timeout_ms=int(seconds * 1000))
    try:
        async with asyncio.timeout(seconds):
            await admin.start()
            yield admin
    except KAFKA_ERRORS as error:
        raise Unavailable(f"Kafka cannot be reached ({settings.kafka_bootstrap}): {error!r}") from error
    finally:
        await admin.close()
