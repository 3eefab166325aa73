"""Until when everything is heard: profile says at the journal's heads up to which time all that was received is in it.

Whoever waits for silence looks there: that nothing came is only true of a time up to which everything was heard.
"""

import asyncio
import contextlib
from datetime import UTC, datetime, timedelta

import structlog

from libs.common.db import UNAVAILABLE
from libs.common.errors import Unavailable
from libs.common.fold.part import FoldPart
from libs.common.log.reader import Where
from libs.common.topics import JOURNAL
from libs.common.web.health import Check

logger = structlog.get_logger()

EVERY = 5.0
#: An event may lie for so long in the hands of ingest before it is in the log.
MARGIN = timedelta(seconds=15)

_MOVE = "UPDATE log.heads SET heard_until = greatest(heard_until, $3) WHERE topic = $1 AND partition = $2"


class Hearing:
    """A component of profile: moves `heard_until` of the journal. No records, and no transaction of the fold's."""

    name = "hearing"

    def __init__(self, part: FoldPart) -> None:
        self._part = part
        self._heard: dict[Where, datetime] = {}
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self._heard.clear()
        self._task = asyncio.create_task(self._keep(), name="hearing")

    async def stop(self) -> None:
        if self._task:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def check(self) -> Check:
        """Always ready: while it does not move, timers wait."""
        return Check(True)

    def died(self) -> str:
        return "hearing has ended" if self._task and self._task.done() else ""

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

    async def _keep(self) -> None:
        while True:
            try:
                await self.round(datetime.now(UTC))
            except (*UNAVAILABLE, Unavailable) as error:
                logger.warning("until when everything was heard is not known", error=repr(error))
            await asyncio.sleep(EVERY)
