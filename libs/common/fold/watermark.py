"""Watermarks: the time up to which the journal holds everything that was received. Profile writes them at the journal's
heads.

A rule that waits for silence needs them: only up to the watermark is it certain that nothing came. With Kafka each
service may have a database of its own, so profile also publishes them in a compacted topic.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from libs.common.contracts.profile import JOURNAL, WATERMARK
from libs.common.db.pool import Tx
from libs.common.errors import Unavailable
from libs.common.fold.service import ConsumerService
from libs.common.log.reader import TopicPartition
from libs.common.runtime.periodic import PeriodicTask
from libs.common.settings import Settings

if TYPE_CHECKING:
    from libs.common.log.kafka.compacted_topic import CompactedTopicWriter

#: An event may lie for so long in the hands of ingest before it is in the log.
MARGIN = timedelta(seconds=15)

_MOVE = "UPDATE log.heads SET watermark = greatest(watermark, $3) WHERE topic = $1 AND partition = $2"
_MARKS = "SELECT partition, next, watermark FROM log.heads WHERE topic = $1 AND watermark IS NOT NULL"


class Watermark(NamedTuple):
    """When a partition of the journal ended before `head`, it held everything received before `until`."""

    partition: int
    head: int
    until: datetime


_decoder = msgspec.json.Decoder(list[Watermark])


async def watermarks(tx: Tx) -> list[Watermark]:
    """The watermarks in the journal's database."""
    return [Watermark(*row) for row in await tx.fetch(_MARKS, JOURNAL)]


async def published_watermarks(settings: Settings) -> Sequence[Watermark]:
    """The watermarks that profile published last over Kafka. Raises Unavailable, also if they cannot be read."""

    from libs.common.log.kafka.compacted_topic import newest_message

    value = await newest_message(settings, WATERMARK)
    try:
        return _decoder.decode(value) if value else []
    except msgspec.MsgspecError as error:
        raise Unavailable(f"the newest message of {WATERMARK} is of another release: {error}") from error


class WatermarkWriter(PeriodicTask):
    """A component of profile. It moves the journal's watermarks, and publishes them over Kafka if that is the log.
    It writes no records and takes no part in the fold's transactions. While a watermark does not move, timers wait."""

    name = "watermark"
    every = 5.0

    def __init__(self, part: ConsumerService) -> None:
        super().__init__()
        self._part = part
        self._received_until: dict[TopicPartition, datetime] = {}
        self._writer: CompactedTopicWriter | None = None

    async def start(self) -> None:
        self._received_until.clear()
        if self._part.settings.log == "kafka":
            from libs.common.log.kafka.compacted_topic import CompactedTopicWriter

            self._writer = CompactedTopicWriter(self._part.settings, WATERMARK)
        await super().start()

    async def stop(self) -> None:
        await super().stop()
        if self._writer:
            await self._writer.stop()

    async def round(self, now: datetime) -> datetime | None:
        """Look at all inputs. Returns the watermark over all of them, once each was looked at.

        The watermark of a partition that is behind is the time at which its oldest unread record was appended. Kafka
        does not tell that time: there the watermark stands still until the partition is read to its end. It is
        published even if it did not move: after a restore from a backup the last published one may be later.
        """
        for tp, lag in (await self._part.fold.lag()).items():
            if lag.records == 0:
                self._received_until[tp] = now - MARGIN
            elif self._part.settings.log == "postgres":
                self._received_until[tp] = now - MARGIN - timedelta(seconds=lag.seconds)
        known = self._received_until.keys() >= set(self._part.fold.tps)
        until = min(self._received_until.values()) if known else None
        async with self._part.read() as connection:
            if until:
                for partition in range(self._part.settings.partitions):
                    await connection.execute(_MOVE, JOURNAL, partition, until)
            current = await watermarks(connection)
        if self._writer:
            await self._writer.write(msgspec.json.encode(current))
        return until

    async def _run_once(self) -> None:
        await self.round(datetime.now(UTC))
