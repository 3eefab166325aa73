"""The consumer service as one component: database, log reader, fold, and the forwarder if Kafka is the log."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

from libs.common.contracts.ingest import EVENTS
from libs.common.contracts.registry import notified_at_once, read_by, written_by
from libs.common.db.pool import BY_INDEX, Database, Tx
from libs.common.errors import Unavailable
from libs.common.fold.batch import Handler
from libs.common.fold.dead_letters import DeadLetters
from libs.common.fold.gauges import Gauges
from libs.common.fold.loop import Fold
from libs.common.log import move_to_kafka
from libs.common.log.postgres import PostgresReader
from libs.common.log.reader import Reader
from libs.common.observability.telemetry import Meter, Totals
from libs.common.runtime.component import Check
from libs.common.runtime.postgres import Postgres
from libs.common.settings import Settings

if TYPE_CHECKING:
    from libs.common.log.forward import Forwarder

#: The size of the fold's own pool. Its plans always use indexes; reading, folding and forwarding go through it.
CONNECTIONS = 5
#: Seconds between two small transactions of the service that reads the events, with Kafka as the log. Each transaction
#: is forwarded and read again by all other services; without the pause, a hundred a second keep two cores busy.
PAUSE = 0.02


class ConsumerService:
    """A component. `database`, `fold` and `dead_letters` raise Unavailable before it has started."""

    name = "fold"

    def __init__(self, service: str, settings: Settings, handler: Handler) -> None:
        self.service = service
        self.settings = settings
        self.handler = handler
        self.meter = Meter(service)
        self._postgres = Postgres(settings, service, self.meter)
        self._fold: Fold | None = None
        self._forwarder: Forwarder | None = None
        self._totals = Totals()
        self._stack = AsyncExitStack()

    async def start(self) -> None:
        """Open everything in order. Raises Unavailable if a part cannot be opened, after closing the others."""
        async with AsyncExitStack() as stack:
            await self._postgres.start()
            stack.push_async_callback(self._postgres.stop)
            fold_database = await Database.connect(
                self.settings.model_copy(update={"pool_size": CONNECTIONS}), f"{self.service}-fold", **BY_INDEX
            )
            stack.push_async_callback(fold_database.close)
            reader = await self._reader(fold_database, stack)
            writes = written_by(self.service)
            topics = read_by(self.service)
            pause = PAUSE if self.settings.log == "kafka" and EVENTS in topics else 0.0
            fold = Fold(self.service, fold_database, reader, self.handler, topics, writes, pause)
            await fold.start()
            stack.push_async_callback(fold.stop)
            self._fold, self._stack = fold, stack.pop_all()

    async def stop(self) -> None:
        """Drain the fold, then close the rest."""
        await self._stack.aclose()

    async def check(self) -> Check:
        """Whether the database answers and the log is complete, with every reader's lag. Sets the metrics."""
        await self._postgres.check()
        return await Gauges(self.meter, self.fold, self._forwarder, read_by(self.service), self._totals).check()

    def died(self) -> str:
        """A sentence if a task of the fold has ended, which it never should; else empty."""
        return "" if self._fold is None or self._fold.alive else "a task of the fold has ended"

    @property
    def database(self) -> Database:
        return self._postgres.database

    @property
    def fold(self) -> Fold:
        if self._fold is None:
            raise Unavailable("the service is starting: its database or log is not available yet")
        return self._fold

    @property
    def dead_letters(self) -> DeadLetters:
        return DeadLetters(self.fold)

    @asynccontextmanager
    async def tx(self) -> AsyncIterator[Tx]:
        """A transaction. It commits at the end of the block."""
        async with self.database.transaction() as tx:
            yield tx

    @asynccontextmanager
    async def read(self) -> AsyncIterator[Tx]:
        """A connection for single reads."""
        async with self.database.connection() as connection:
            yield connection

    async def _reader(self, database: Database, stack: AsyncExitStack) -> Reader:
        topics: Sequence[str] = read_by(self.service)
        reader: Reader = PostgresReader(database, topics, notified_at_once(self.service))
        async with database.connection() as tx:
            moved = await move_to_kafka.closed(tx) if EVENTS in topics else {}
        if self.settings.log == "postgres":
            move_to_kafka.refuse_closed(moved)
        if self.settings.log == "kafka":  # imported here, so that installations without Kafka do not load its client
            from libs.common.log.forward import Forwarder
            from libs.common.log.kafka import KafkaReader, ensure_topics
            from libs.common.log.kafka.tail import refuse_behind

            writes = written_by(self.service)
            await ensure_topics(self.settings, [*topics, writes])
            await refuse_behind(database, self.settings, self.service, writes)
            self._forwarder = Forwarder(database, self.settings, self.service, writes)
            await self._forwarder.start()
            stack.push_async_callback(self._forwarder.stop)
            in_postgres = [topic for topic in topics if topic != EVENTS or moved]  # events only if they were moved
            fallback = PostgresReader(database, in_postgres)
            at_once = bool(notified_at_once(self.service))
            reader = KafkaReader(self.settings, topics, fallback, at_once=at_once, bases=moved)
        await reader.start()
        stack.push_async_callback(reader.stop)
        return reader
