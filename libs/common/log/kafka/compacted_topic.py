"""Writer and reader of a compacted topic, in which only the newest message counts. A service gives the others
something besides its records in it."""

from datetime import UTC, datetime

from libs.common.errors import Unavailable
from libs.common.log.append import Outgoing
from libs.common.log.kafka.producer import DEADLINE, Producer
from libs.common.log.kafka.tail import newest
from libs.common.log.kafka.topics import check_topics, ensure_topics
from libs.common.settings import Settings

#: The partition that is used; the others stay empty.
PARTITION = 0


class CompactedTopicWriter:
    """Writes the topic. Creates it before the first message. A message may take `deadline` seconds."""

    def __init__(self, settings: Settings, topic: str, deadline: float = DEADLINE) -> None:
        self._settings = settings
        self._topic = topic
        self._producer = Producer(settings, deadline)
        self._created = False

    async def write(self, value: bytes) -> None:
        """Write the newest message. Raises Unavailable; the message may have been written even then."""
        if not self._created:
            await ensure_topics(self._settings, [self._topic])
            self._created = True
        try:
            await self._producer.send(self._topic, [Outgoing("", value, datetime.now(UTC))], partition=PARTITION)
        except Unavailable:
            self._created = False  # the topic may have been deleted
            raise

    async def stop(self) -> None:
        await self._producer.stop()


async def newest_message(settings: Settings, topic: str) -> bytes | None:
    """The newest message; None if there is none. Raises Unavailable, also if the topic does not exist."""
    await check_topics(settings, [topic])
    messages = await newest(settings, topic, PARTITION, 1)
    return messages[-1] if messages else None
