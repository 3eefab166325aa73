"""The newest records of a partition in PostgreSQL, for who wants a sample and no position."""

from libs.common.db.pool import Tx
from libs.common.log.tables import relation

_HEAD = "SELECT next FROM log.heads WHERE topic = $1 AND partition = $2"
_VALUES = (
    'SELECT value FROM {relation} WHERE partition = $1 AND "offset" >= $2 AND "offset" < $3 ORDER BY "offset" LIMIT $4'
)


async def newest(tx: Tx, topic: str, partition: int, most: int) -> list[bytes]:
    """The values of the last `most` records, in their order; fewer if older ones were dropped."""
    head = await tx.fetchval(_HEAD, topic, partition) or 0
    rows = await tx.fetch(_VALUES.format(relation=relation(topic)), partition, max(0, head - most), head, most)
    return [bytes(row["value"]) for row in rows]
