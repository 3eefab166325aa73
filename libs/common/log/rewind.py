"""Rewinds a forwarder: an operator makes it send records again that Kafka has lost.

Readers at the gap discard later records until the missing ones arrive. Readers that have read them skip them.
"""

from typing import NamedTuple

import asyncpg

from libs.common.contracts.registry import written_by
from libs.common.errors import Invalid
from libs.common.log.positions import Positions
from libs.common.log.reader import TopicPartition
from libs.common.log.tables import relation
from libs.common.settings import Settings

_OLDEST = 'SELECT "offset" FROM {relation} WHERE partition = $1 ORDER BY "offset" LIMIT 1'
_SET = """
UPDATE "{service}".positions SET next = $4, hint = NULL
WHERE reader = $1 AND topic = $2 AND partition = $3 AND next > $4 RETURNING next
"""


class Rewound(NamedTuple):
    """A partition whose forwarder was at `before` and continues from `now`; both are equal if it was not past `now`."""

    tp: TopicPartition
    before: int
    now: int


async def rewind(settings: Settings, service: str, to: int, partition: int | None = None) -> list[Rewound]:
    """Set the stored position of the service's forwarder back to `to`, in one partition or all. Commits.

    Never moves it forward, nor before the oldest record that PostgreSQL still has. A running forwarder notices within a
    second, or at the end of its current batch. Raises Invalid for an unknown partition or a service without a
    forwarder, and what asyncpg raises.
    """
    topics = written_by(service)
    if to < 0 or partition not in (None, *range(settings.partitions)):
        raise Invalid(f"there is no offset {to} in partition {partition}: give an offset of 0 or more and a partition")
    connection = await asyncpg.connect(settings.dsn, ssl=settings.database_ssl(), timeout=5, command_timeout=30)
    try:
        async with connection.transaction():
            positions = Positions(service, "forwarder")
            stored = {
                tp: position
                for tp, position in (await positions.all(connection)).items()
                if tp.topic in topics and partition in (None, tp.partition)
            }
            if not stored:
                raise Invalid(f"{service} has no forwarder: only with Kafka as the log, and once the service has run")
            rewound = []
            for tp in sorted(stored):
                oldest = await connection.fetchval(_OLDEST.format(relation=relation(tp.topic)), tp.partition)
                now = max(to, stored[tp].next if oldest is None else oldest)
                moved = await connection.fetchval(_SET.format(service=service), "forwarder", *tp, now)
                rewound.append(Rewound(tp, stored[tp].next, stored[tp].next if moved is None else now))
            return rewound
    finally:
        await connection.close()
