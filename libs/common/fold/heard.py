"""Until when everything is heard: profile says at the journal's heads up to which time all that was received is in it.

Whoever waits for silence looks there: that nothing came is only true of a time up to which everything was heard.
"""

from datetime import UTC, datetime, timedelta

from libs.common.fold.part import FoldPart
from libs.common.log.reader import Where
from libs.common.rounds import Rounds
from libs.common.topics import JOURNAL

#: An event may lie for so long in the hands of ingest before it is in the log.
MARGIN = timedelta(seconds=15)

_MOVE = "UPDATE log.heads SET heard_until = greatest(heard_until, $3) WHERE topic = $1 AND partition = $2"


class Hearing(Rounds):
    """A component of profile: moves `heard_until` of the journal. No records, and no transaction of the fold's. While it does
    not move, timers wait."""

    name = "hearing"
    every = 5.0

    def __init__(self, part: FoldPart) -> None:
        super().__init__()
        self._part = part
        self._heard: dict[Where, datetime] = {}

    async def start(self) -> None:
        self._heard.clear()
        await super().start()

    async def round(self, now: datetime) -> datetime | None:
        """Look at all inputs; the time until which all of them were heard, once each was looked at.

        A partition that is behind has been heard until its oldest unread record was appended. Kafka does not say when
        that was: there the time stands still until the partition has been read to its end.
        """
        for where, lag in (await self._part.fold.lag()).items():
            if lag.records == 0:
                self._heard[where] = now - MARGIN
            elif self._part.settings.log == "postgres":
                self._heard[where] = now - MARGIN - timedelta(seconds=lag.seconds)
        if not self._heard.keys() >= set(self._part.fold.wheres):
            return None
        until = min(self._heard.values())
        async with self._part.read() as connection:
            for partition in range(self._part.settings.partitions):
                await connection.execute(_MOVE, JOURNAL, partition, until)
        return until

    async def _turn(self) -> None:
        await self.round(datetime.now(UTC))
