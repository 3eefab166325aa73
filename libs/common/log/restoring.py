"""After a restore: what a service's own topic has in Kafka and no longer in PostgreSQL is taken back, under the same
offsets, so that nothing that is there is given out, or sent, again.

Only where Kafka has lost a part of it can the offsets not be kept: then a new epoch begins (`epochs`). Not so in the journal,
whose records nobody could decide again as they were.
"""

import time
from collections.abc import Sequence

import structlog

from libs.common.contracts.profile import JOURNAL
from libs.common.contracts.records import decode
from libs.common.db.pool import Database
from libs.common.errors import Unavailable
from libs.common.log import epochs, segments
from libs.common.log.kafka_reader import KafkaReader
from libs.common.log.kafka_tail import Ahead, ahead
from libs.common.log.reader import Position, Record, Where, after
from libs.common.log.tables import relation
from libs.common.settings import Settings

logger = structlog.get_logger()

BATCH = 1000
PATIENCE = 60.0

_HEADS = "SELECT partition, epoch, next FROM log.heads WHERE topic = $1"
_TAKE = """
INSERT INTO {relation} (partition, "offset", key, time, appended_at, value)
SELECT $1, * FROM unnest($2::bigint[], $3::text[], $4::timestamptz[], $5::timestamptz[], $6::bytea[])
"""
_SENT = """
UPDATE "{service}".positions SET next = $3
WHERE reader = 'forwarder' AND topic = $1 AND partition = $2 AND next < $3
"""


async def take_back(database: Database, settings: Settings, service: str, topic: str) -> int:
    """Bring PostgreSQL's log of `topic` level with Kafka's; how many records it took. Nothing is to be appended meanwhile.

    What was taken is marked in `log.imported` until the service's state knows of it. Raises Unavailable.
    """
    async with database.connection() as connection:
        heads = {row[0]: Position(row[1], row[2]) for row in await connection.fetch(_HEADS, topic)}
    taken = 0
    if found := await ahead(settings, topic, heads):
        reader = KafkaReader(settings, [topic], name=f"{service}-tail")
        await reader.start()
        try:
            for each in found:
                taken += await _take_back(database, settings, service, reader, each, heads[each.where.partition])
        finally:
            await reader.stop()
    return taken


async def _take_back(
    database: Database, settings: Settings, service: str, reader: KafkaReader, found: Ahead, head: Position
) -> int:
    where = found.where
    size = segments.size_of(where.topic, settings)
    async with database.connection() as connection:
        there = await segments.existing(connection, where.topic)
        wanted = segments.missing(there, range(head.next, found.last + size, size), size)
        await segments.make(connection, where.topic, wanted)
    position, since = head._replace(hint=found.hint), time.monotonic()
    while position.next <= found.last:
        records = await reader.fetch(where, position, BATCH, 0.5)
        if records:
            await _insert(database, service, where, records)
            position, since = after(position, records), time.monotonic()
        elif (gap := reader.gaps.get(where)) and not (await reader.lag({where: position}))[where].records:
            if where.topic == JOURNAL:
                raise Unavailable(
                    f"Kafka no longer has records {gap.expected} to {gap.found - 1} of {where}, and who is who is said nowhere"
                    " else: restore a newer backup of profile, or all services to one moment. `rapport epoch profile` gives"
                    " these records up: their customers are then others, and what the other services know of them is nobody's"
                )
            async with database.transaction() as tx:
                epoch = await epochs.begin(tx, where)
            logger.error(
                "records of a restored database are lost in Kafka, too: a new epoch begins",
                where=str(where), lost=gap.found - gap.expected, first=position.next, epoch=epoch,
            )  # fmt: skip
            break
        elif time.monotonic() - since > PATIENCE:
            raise Unavailable(f"{where} cannot be taken back from Kafka: it has {position.next} to {found.last}")
    taken = position.next - head.next
    logger.warning("records that only Kafka had are taken back", where=str(where), first=head.next, records=taken)
    return taken


async def _insert(database: Database, service: str, where: Where, records: Sequence[Record]) -> None:
    next = records[-1].offset + 1
    async with database.transaction() as tx:
        statement = "UPDATE log.heads SET next = $4 WHERE topic = $1 AND partition = $2 AND next = $3"
        if await tx.execute(statement, *where, records[0].offset, next) != "UPDATE 1":
            raise Unavailable(f"{where} is being written by another process: stop all of {service} to restore it")
        await tx.execute(
            _TAKE.format(relation=relation(where.topic)),
            where.partition,
            [record.offset for record in records],
            [record.key for record in records],
            [decode(record.value).time for record in records],
            [record.appended_at for record in records],
            [record.value for record in records],
        )
        await tx.execute(_SENT.format(service=service), *where, next)
        await tx.execute(
            "INSERT INTO log.imported (topic, partition, first) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
            *where,
            records[0].offset,
        )
