"""Kafka's topics: made by their writing service, refused when they have another number of partitions than we."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError, for_code

from libs.common.errors import Unavailable
from libs.common.settings import Settings

#: Exceptions that say "Kafka is away or in the way".
AWAY = (KafkaError, OSError, TimeoutError)
#: Kafka carries copies; the log in PostgreSQL is kept.
RETENTION_DAYS = 7
#: A record of 900 KB with its key and headers.
LARGEST_BATCH = 1_048_576
TIMEOUT = 10.0
#: Seconds of one try to connect: a broker that is starting takes connections long before it answers, and then never does.
CONNECT = 3.0
#: Between an aiokafka client's own tries.
RETRY_MS = 250
_ALREADY_EXISTS = 36


def kafka_name(settings: Settings, topic: str) -> str:
    """What Kafka calls a topic: with the installation's prefix."""
    return settings.topic_prefix + topic


async def ensure_topics(settings: Settings, topics: Sequence[str]) -> None:
    """Make the topics that are missing. Safe to run at any time and twice at once.

    Raises Unavailable when Kafka cannot be reached, or a topic has another number of partitions than the settings say.
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
                    raise Unavailable(f"Kafka does not make the topic {name}: {message[0] or for_code(code).__name__}")
        while any(name not in known for name in missing):
            await asyncio.sleep(0.05)
            known = await _partitions(admin)
        _refuse_other_partitions(settings, topics, known)


async def check_topics(settings: Settings, topics: Sequence[str]) -> None:
    """Raises Unavailable when a topic is missing or has another number of partitions, or Kafka cannot be reached."""
    async with admin_client(settings, CONNECT) as admin:
        _refuse_other_partitions(settings, topics, await _partitions(admin))


def _refuse_other_partitions(settings: Settings, topics: Sequence[str], known: dict[str, int]) -> None:
    for topic in topics:
        name = kafka_name(settings, topic)
        if name not in known:
            raise Unavailable(f"Kafka has no topic {name} yet: the service that writes it makes it")
        if known[name] != settings.partitions:
            raise Unavailable(
                f"Kafka's topic {name} has {known[name]} partitions, RAPPORT_PARTITIONS says {settings.partitions}: "
                f"the number cannot be changed, set RAPPORT_PARTITIONS={known[name]} or use another RAPPORT_TOPIC_PREFIX"
            )


async def _partitions(admin: Any) -> dict[str, int]:
    """Every topic's number of partitions. (Asking for all makes none, as asking for one may.)"""
    return {topic["topic"]: len(topic["partitions"]) for topic in await admin.describe_topics()}


@asynccontextmanager
async def admin_client(settings: Settings, seconds: float = TIMEOUT) -> AsyncIterator[Any]:
    """An admin client for some requests; what goes wrong with them, or lasts for longer, is raised as Unavailable."""
    admin = AIOKafkaAdminClient(**settings.kafka_options(), request_timeout_ms=int(seconds * 1000))
    try:
        async with asyncio.timeout(seconds):
            await admin.start()
            yield admin
    except AWAY as error:
        raise Unavailable(f"Kafka cannot be reached ({settings.kafka_bootstrap}): {error!r}") from error
    finally:
        await admin.close()
