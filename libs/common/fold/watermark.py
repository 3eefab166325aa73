"""Watermarks: the time up to which all received events are in the journal. Profile stores them with its heads.

Timers and rules that wait for silence depend on them: only up to the watermark is it certain that no event came. With
Kafka, where each service may have its own database, profile also publishes them in a compacted topic.
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

#: The longest time between receiving an event and having it in the log.
MARGIN = timedelta(seconds=15)

_MOVE = "UPDATE log.heads SET watermark = greatest(watermark, $3) WHERE topic = $1 AND partition = $2"
_MARKS = "SELECT partition, next, watermark FROM log.heads WHERE topic = $1 AND watermark IS NOT NULL"


class Watermark(NamedTuple):
    """All events received before `until` lie before `head` in a partition of the journal."""

    partition: int
    head: int
    until: datetime


_decoder = msgspec.json.Decoder(list[Watermark])


async def watermarks(tx: Tx) -> list[Watermark]:
    """The watermarks, from the database that holds the journal."""
    return [Watermark(*row) for row in await tx.fetch(_MARKS, JOURNAL)]


async def published_watermarks(settings: Settings) -> Sequence[Watermark]:
    """The watermarks that profile published last in Kafka. Raises Unavailable if they cannot be read."""
    from libs.common.log.kafka.compacted_topic import newest_message

    value = await newest_message(settings, WATERMARK)
    try:
        return _decoder.decode(value) if value else []
    except msgspec.MsgspecError as error:
        raise Unavailable(f"the newest message of {WATERMARK} comes from another release: {error}") from error


class WatermarkWriter(PeriodicTask):
    """A component of profile: moves the journal's watermarks, and publishes them if Kafka is the log.

    It writes no records and takes no consumer in the fold's transactions. While a watermark does not move, timers wait.
    """

    name = "watermark"
    every = 5.0

    def __init__(self, consumer: ConsumerService) -> None:
        super().__init__()
        self._consumer = consumer
        self._received_until: dict[TopicPartition, datetime] = {}
        self._writer: CompactedTopicWriter | None = None

    async def start(self) -> None:
        self._received_until.clear()
        if self._consumer.settings.log == "kafka":
            from libs.common.log.kafka.compacted_topic import CompactedTopicWriter

            self._writer = CompactedTopicWriter(self._consumer.settings, WATERMARK)
        await super().start()

    async def stop(self) -> None:
        await super().stop()
        if self._writer:
            await self._writer.stop()

    async def round(self, now: datetime) -> datetime | None:
        """Move and publish the watermarks. Returns the watermark of all inputs, or None until each input is known.

        The watermark of a partition that lags is the time at which its oldest unread record was appended. Kafka does
        not give that time, so there the watermark does not move until the partition has been read to its end. The
        stored watermarks are published even then, because after a restore from a backup the last published ones may be
        later.
        """
        for tp, lag in (await self._consumer.fold.lag()).items():
            if lag.records == 0:
                self._received_until[tp] = now - MARGIN
            elif self._consumer.settings.log == "postgres":
                self._received_until[tp] = now - MARGIN - timedelta(seconds=lag.seconds)
        known = self._received_until.keys() >= set(self._consumer.fold.tps)
        until = min(self._received_until.values()) if known else None
        async with self._consumer.read() as connection:
            if until:
                for partition in range(self._consumer.settings.partitions):
                    await connection.execute(_MOVE, JOURNAL, partition, until)
            current = await watermarks(connection)
        if self._writer:
            await self._writer.write(msgspec.json.encode(current))
        return until

    async def _run_once(self) -> None:
        await self.round(datetime.now(UTC))
