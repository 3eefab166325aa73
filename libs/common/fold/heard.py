"""Until when everything is heard: profile says at the journal's heads up to which time all that was received is in it.

Whoever waits for silence looks there: that nothing came is only true of a time up to which everything was heard. Over Kafka,
where each service may have a database of its own, profile tells what stands there in a control message.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from libs.common.contracts.profile import HEARD, JOURNAL
from libs.common.db.pool import Tx
from libs.common.errors import Unavailable
from libs.common.fold.service import ConsumerService
from libs.common.log.reader import Where
from libs.common.runtime.periodic import PeriodicTask
from libs.common.settings import Settings

if TYPE_CHECKING:
    from libs.common.log.kafka_newest import Teller

#: An event may lie for so long in the hands of ingest before it is in the log.
MARGIN = timedelta(seconds=15)

_MOVE = "UPDATE log.heads SET heard_until = greatest(heard_until, $3) WHERE topic = $1 AND partition = $2"
_MARKS = "SELECT partition, next, heard_until FROM log.heads WHERE topic = $1 AND heard_until IS NOT NULL"


class Mark(NamedTuple):
    """When a partition of the journal ended before `head`, all that was received before `until` was in it."""

    partition: int
    head: int
    until: datetime


_decoder = msgspec.json.Decoder(list[Mark])


async def marks(tx: Tx) -> list[Mark]:
    """What profile said, in the database that has the journal."""
    return [Mark(*row) for row in await tx.fetch(_MARKS, JOURNAL)]


async def marks_told(settings: Settings) -> Sequence[Mark]:
    """What profile told last over Kafka. Raises Unavailable, also when it cannot be read."""
    from libs.common.log.kafka_newest import told

    value = await told(settings, HEARD)
    try:
        return _decoder.decode(value) if value else []
    except msgspec.MsgspecError as error:
        raise Unavailable(f"what {HEARD} says last is of another release: {error}") from error


class Hearing(PeriodicTask):
    """A component of profile: moves `heard_until` of the journal, and tells of it over Kafka where that is the log. No records,
    and no transaction of the fold's. While it does not move, timers wait."""

    name = "hearing"
    every = 5.0

    def __init__(self, part: ConsumerService) -> None:
        super().__init__()
        self._part = part
        self._heard: dict[Where, datetime] = {}
        self._teller: Teller | None = None

    async def start(self) -> None:
        self._heard.clear()
        if self._part.settings.log == "kafka":
            from libs.common.log.kafka_newest import Teller

            self._teller = Teller(self._part.settings, HEARD)
        await super().start()

    async def stop(self) -> None:
        await super().stop()
        if self._teller:
            await self._teller.stop()

    async def round(self, now: datetime) -> datetime | None:
        """Look at all inputs; the time until which all of them were heard, once each was looked at.

        A partition that is behind has been heard until its oldest unread record was appended. Kafka does not say when
        that was: there the time stands still until the partition has been read to its end. What stands in the database is
        told even so: after a restore from a backup what was told last may be of a later time.
        """
        for where, lag in (await self._part.fold.lag()).items():
            if lag.records == 0:
                self._heard[where] = now - MARGIN
            elif self._part.settings.log == "postgres":
                self._heard[where] = now - MARGIN - timedelta(seconds=lag.seconds)
        known = self._heard.keys() >= set(self._part.fold.wheres)
        until = min(self._heard.values()) if known else None
        async with self._part.read() as connection:
            if until:
                for partition in range(self._part.settings.partitions):
                    await connection.execute(_MOVE, JOURNAL, partition, until)
            now_marked = await marks(connection)
        if self._teller:
            await self._teller.tell(msgspec.json.encode(now_marked))
        return until

    async def _run_once(self) -> None:
        await self.round(datetime.now(UTC))
