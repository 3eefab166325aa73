"""Moves the log from PostgreSQL to Kafka: closes `ingest.events` at its heads; the other topics continue.

From then on, ingest writes its events to Kafka. Kafka's own offsets begin at 0, so they are counted from the closed
heads, and positions only rise. Events before the heads are still read from PostgreSQL. The other topics are still
written to PostgreSQL; they are forwarded from the position of their slowest reader.
"""

from collections.abc import Mapping

import asyncpg

from libs.common.contracts.ingest import EVENTS
from libs.common.contracts.registry import TOPICS
from libs.common.db.pool import Tx
from libs.common.errors import Unavailable
from libs.common.log.reader import TopicPartition
from libs.common.settings import Settings

_CLOSE = "UPDATE log.heads SET closed = true WHERE topic = $1 RETURNING partition, next"
_CLOSED = "SELECT partition, next FROM log.heads WHERE topic = $1 AND closed"
_BEGIN = """
INSERT INTO "{writer}".positions (reader, topic, partition, next)
SELECT 'forwarder', $1, partition, next FROM unnest($2::smallint[], $3::bigint[]) AS at(partition, next)
ON CONFLICT DO NOTHING
"""


async def closed(tx: Tx) -> dict[TopicPartition, int]:
    """The heads at which `ingest.events` was closed; empty if it was not."""
    return {TopicPartition(EVENTS, row[0]): row[1] for row in await tx.fetch(_CLOSED, EVENTS)}


async def refuse_unclosed(tx: Tx) -> None:
    """Raises Unavailable if PostgreSQL has events and was not closed, because Kafka would repeat its offsets."""
    if await tx.fetchval("SELECT 1 FROM log.heads WHERE topic = $1 AND next > 0 AND NOT closed LIMIT 1", EVENTS):
        raise Unavailable(f"{EVENTS} is in PostgreSQL: run `rapport move-to-kafka` first")


def refuse_closed(heads: Mapping[TopicPartition, int]) -> None:
    """Raises Unavailable if the events were moved to Kafka."""
    if heads:
        raise Unavailable(f"{EVENTS} has been moved to Kafka: set RAPPORT_LOG=kafka")


async def move(settings: Mapping[str, Settings]) -> dict[TopicPartition, int]:
    """Close `ingest.events` in PostgreSQL, and set each forwarder to its topic's slowest reader.

    Returns the closed heads. `settings` are those of the services. Commits. Safe to repeat. Raises Unavailable if the
    services do not share a database.
    """
    if len({each.dsn for each in settings.values()}) > 1:
        raise Unavailable("each service has its own database, so Kafka is their log already")
    ingest = settings["ingest"]
    connection = await asyncpg.connect(ingest.dsn, ssl=ingest.database_ssl(), timeout=10, command_timeout=60)
    try:
        async with connection.transaction():
            heads = {TopicPartition(EVENTS, row[0]): row[1] for row in await connection.fetch(_CLOSE, EVENTS)}
            for topic in TOPICS:
                if topic.name != EVENTS:
                    await _begin_forwarding(connection, topic.name, topic.writer, topic.readers)
    finally:
        await connection.close()
    return heads


async def _begin_forwarding(tx: Tx, topic: str, writer: str, readers: tuple[str, ...]) -> None:
    """Set a topic's forwarder to the slowest reader. Kafka needs no older records; there may be years of them."""
    positions: dict[int, list[int]] = {}
    for reader in readers:
        query = f"SELECT partition, next FROM \"{reader}\".positions WHERE reader = 'fold' AND topic = $1"
        for row in await tx.fetch(query, topic):
            positions.setdefault(row[0], []).append(row[1])
    slowest = {at: min(nexts) if len(nexts) == len(readers) else 0 for at, nexts in positions.items()}
    await tx.execute(_BEGIN.format(writer=writer), topic, list(slowest), list(slowest.values()))
