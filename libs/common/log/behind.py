"""A database that is behind its own topic in Kafka: it was restored from an older backup, alone.

Going on would give offsets out again that Kafka's readers already have. So the service does not start, and says what to do.
"""

from libs.common.db.pool import Database
from libs.common.errors import Unavailable
from libs.common.log.kafka.tail import ahead
from libs.common.log.reader import Position
from libs.common.settings import Settings

_HEADS = "SELECT partition, epoch, next FROM log.heads WHERE topic = $1"


async def refuse_behind(database: Database, settings: Settings, service: str, topic: str) -> None:
    """Raises Unavailable when Kafka has records of `topic`, in the current epoch, that PostgreSQL has not. Changes nothing."""
    async with database.connection() as connection:
        heads = {row[0]: Position(row[1], row[2]) for row in await connection.fetch(_HEADS, topic)}
    if found := await ahead(settings, topic, heads):
        missing = ", ".join(
            f"{each.where} ends before {heads[each.where.partition].next}, Kafka has records up to {each.last}"
            for each in found
        )
        raise Unavailable(
            f"the database of {service} is older than its topic in Kafka ({missing}): restore the databases of all services"
            f" to one moment, or give these records up and begin a new epoch with `rapport epoch {service}`"
        )
