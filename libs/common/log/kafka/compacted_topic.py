"""Writer and reader of a compacted topic: only its newest message counts. One service tells the others something beside its
records there."""

from datetime import UTC, datetime

from libs.common.errors import Unavailable
from libs.common.log.append import Outgoing
from libs.common.log.kafka.producer import DEADLINE, Producer
from libs.common.log.kafka.tail import newest
from libs.common.log.kafka.topics import check_topics, ensure_topics
from libs.common.settings import Settings

#: Of the topic; the others stay empty.
PARTITION = 0


class CompactedTopicWriter:
    """Makes the topic with the first message. A message may take `deadline` seconds."""

    def __init__(self, settings: Settings, topic: str, deadline: float = DEADLINE) -> None:
        self._settings = settings
        self._topic = topic
        self._producer = Producer(settings, deadline)
        self._made = False

    async def write(self, value: bytes) -> None:
        """Write the newest message. Raises Unavailable; then it may be written, or not."""
        if not self._made:
            await ensure_topics(self._settings, [self._topic])
            self._made = True
        try:
            await self._producer.send(self._topic, [Outgoing("", value, datetime.now(UTC))], partition=PARTITION)
        except Unavailable:
            self._made = False  # it may be gone: somebody deleted it, or Kafka has come back empty
            raise

    async def stop(self) -> None:
        await self._producer.stop()


async def newest_message(settings: Settings, topic: str) -> bytes | None:
    """The newest message; None when there is none (any more). Raises Unavailable, also while there is no such topic."""
    await check_topics(settings, [topic])
    return await newest(settings, topic, PARTITION)
