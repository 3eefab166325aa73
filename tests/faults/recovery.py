"""That whoever is behind reads on, by themselves and soon after what they lean on is back."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Collection, Iterable, Iterator
from typing import ClassVar, NamedTuple, TypeAlias

import httpx
from aiokafka.errors import KafkaError

from libs.common.contracts.registry import TOPICS
from libs.common.db.errors import UNAVAILABLE
from tests.faults import kafka_copy
from tests.faults.observe import Connection
from tests.faults.stage import FOLDS, Stage

#: So many seconds after the last fault, PostgreSQL and Kafka answering, no reader that is behind stands where it stood.
BOUND = 10.0
EVERY = 0.1
#: In which they must answer a stranger; while they do not, they are not back yet.
ANSWER = 2.0
#: Who stands for so long makes us ask Kafka.
LONG = 1.0
_READERS = " UNION ALL ".join(
    f"SELECT '{service}' AS service, p.reader, p.topic, sum(p.next)::bigint AS next, sum(h.next - p.next)::bigint AS behind"
    f" FROM {service}.positions p JOIN log.heads h USING (topic, partition) GROUP BY 2, 3"
    for service in FOLDS
)
_EVENTS = "ingest.events"

Reader: TypeAlias = tuple[str, str, str]


class Seen(NamedTuple):
    """Where a reader stands (the sum over its partitions), and whether there is something to read."""

    reader: Reader
    next: int
    behind: bool


class Standing:
    """How long each reader has stood still although it was behind. `longest` is the most that one did; `wrong` tells of
    those that did for longer than `bound` seconds, each once."""

    def __init__(self, bound: float = BOUND) -> None:
        self._bound = bound
        self._since: dict[Reader, tuple[int, float]] = {}
        self._told: set[Reader] = set()
        self.longest = 0.0
        self.wrong: list[str] = []

    def excused(self) -> None:
        """Something is away or being struck: who stands still now cannot help it."""
        self._since.clear()

    def longest_now(self, now: float) -> float:
        """For how long somebody stands at this moment who is behind."""
        return max((now - since for _, since in self._since.values()), default=0.0)

    def saw(self, seen: Iterable[Seen], now: float) -> None:
        """What is there at this moment."""
        for reader, next, is_behind in seen:
            stood, since = self._since.get(reader, (-1, now))
            if not is_behind or stood != next:
                self._since[reader] = next, now
                continue
            self.longest = max(self.longest, now - since)
            if now - since > self._bound and reader not in self._told:
                self._told.add(reader)
                self.wrong.append(f"{' '.join(reader)} is behind and has not moved for {self._bound:.0f} s")


class Recovery:
    """Watches the readers of a run: who is behind must read on within `BOUND` seconds of the end of the last fault. But for
    the services among `struck`, which have to be started again first, and over Kafka who reads what these forward: those have
    the run's own bound."""

    _writers: ClassVar[dict[str, str]] = {topic.name: topic.writer for topic in TOPICS}

    def __init__(self, stage: Stage, struck: Collection[str]) -> None:
        self._stage = stage
        self._struck = struck
        self._striking = 0
        self.standing = Standing()

    @contextlib.contextmanager
    def striking(self) -> Iterator[None]:
        """A fault is under way."""
        self._striking += 1
        try:
            yield
        finally:
            self._striking -= 1
            self.standing.excused()

    @contextlib.asynccontextmanager
    async def watching(self) -> AsyncIterator[None]:
        """Look at the readers until the block ends."""
        task = asyncio.create_task(self._watch(), name="recovery")
        try:
            yield
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def _watch(self) -> None:
        while True:
            try:
                async with asyncio.timeout(5):
                    connection = await self._stage.database()
                try:
                    while True:
                        await self._look(connection)
                        await asyncio.sleep(EVERY)
                finally:
                    connection.terminate()
            except (*UNAVAILABLE, KafkaError):  # PostgreSQL or Kafka does not answer yet
                self.standing.excused()
                await asyncio.sleep(EVERY)

    async def _look(self, connection: Connection) -> None:
        if self._striking:
            self.standing.excused()
            return
        async with asyncio.timeout(ANSWER):
            rows = await connection.fetch(_READERS)
        seen = [
            Seen((row[0], row[1], row[2]), row[3], row[4] > 0)
            for row in rows
            if row[0] not in self._struck and not (self._stage.log == "kafka" and self._writers[row[2]] in self._struck)
        ]
        if self._stage.log == "kafka":  # whose end PostgreSQL does not know
            events = await self._events_wait()
            seen = [each._replace(behind=events) if each.reader[2] == _EVENTS else each for each in seen]
        self.standing.saw(seen, time.monotonic())
        if (broker := self._stage.platform.kafka) and self.standing.longest_now(time.monotonic()) > LONG:
            async with asyncio.timeout(ANSWER):
                await kafka_copy.ends(broker.bootstrap, [("profile.journal", 0)])

    async def _events_wait(self) -> bool:
        """Whether profile says that there are events to read in Kafka, or cannot say."""
        try:
            told = (await self._stage.get("profile", "/readyz")).json()
        except httpx.TransportError:
            return True
        lags = {each["topic"]: each["records"] for each in told.get("readers", ())}
        return bool(lags.get(_EVENTS, 1))
