"""The fold: it reads its partitions and hands their records to `transactions`.

After any doubt (a failed fence, a lost answer to COMMIT) it reads the position again. It finds a bad record by trying
records alone, and dead-letters it.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence

import structlog

from libs.common.db.errors import UNAVAILABLE
from libs.common.db.pool import Database
from libs.common.fold import rulebooks
from libs.common.fold.batch import Blocked, Handler
from libs.common.fold.breaker import Breaker, BreakerOpen
from libs.common.fold.dead_letters import never_dead_lettered
from libs.common.fold.failure_log import FailureLog
from libs.common.fold.transactions import Fetch, RetryIndividually, Transactions
from libs.common.fold.watchdog import Watchdog
from libs.common.log.assignment import Assignment
from libs.common.log.failures import is_poison
from libs.common.log.notifier import Notifier
from libs.common.log.ownership import Ownership
from libs.common.log.positions import Positions
from libs.common.log.reader import Lag, Position, Reader, Record, TopicPartition
from libs.common.runtime.backoff import Backoff

logger = structlog.get_logger()

BATCH = 500
#: A record that waits for another partition, perhaps of another process, is tried again after so many seconds.
LONGEST_WAIT = 0.1
#: After so many deaths of the process on one position its first record is dead-lettered unread.
DEATHS = 3


class Fold:
    """Reads all partitions that this process owns, concurrently, each in order."""

    def __init__(
        self,
        service: str,
        database: Database,
        reader: Reader,
        handler: Handler,
        topics: Sequence[str],
        writes: str,
        rest: float = 0.0,
    ) -> None:
        self.service = service
        self.database = database
        self.reader = reader
        self.handler = handler
        self.writes = writes
        self.partitions = database.settings.partitions
        self.tps = [TopicPartition(topic, partition) for topic in topics for partition in range(self.partitions)]
        self.positions = Positions(service, "fold")
        self.notifier = Notifier(database)
        self.ownership = Ownership(database, f"{service}/fold", self.tps)
        self.transactions = Transactions(service, database, self.positions, handler, writes, self.notifier, rest)
        self.dead_lettered = 0
        self.failure_log = FailureLog()
        self.breaker = Breaker(service, database)
        self._tried: set[TopicPartition] = set()
        self._suspects = asyncio.Lock()  # one at a time, so that it is known of which one a process died
        self._sizes: dict[TopicPartition, int] = {}
        self._suspect: set[TopicPartition] = set()  # failed, and have not succeeded since: not to be another's burden
        self.assignment = Assignment("fold", self.ownership, self.tps, self._run, self.failure_log.lost)
        self.watchdog = Watchdog(self)

    # -- life ---------------------------------------------------------------------------------------------------------
    async def start(self) -> None:
        async with self.database.transaction() as tx:
            await self.positions.ensure(tx, self.tps, await rulebooks.newest(tx, self.service))
        self.assignment.start()
        self.watchdog.start()

    async def stop(self) -> None:
        """Drain: finish the current batches, then release the partitions."""
        self.assignment.stopping.set()
        await self.watchdog.stop()
        await self.assignment.stop()
        await self.transactions.stop()
        await self.assignment.close()
        await self.notifier.stop()

    async def lag(self) -> Mapping[TopicPartition, Lag]:
        """How far the stored positions of all partitions are behind, whichever process owns them."""
        async with self.database.connection() as connection:
            positions = await self.positions.all(connection)
        return await self.reader.lag({tp: positions[tp] for tp in self.tps if tp in positions})

    @property
    def folded(self) -> int:
        """The number of records that this process has applied."""
        return self.transactions.folded

    @property
    def alive(self) -> bool:
        """Whether all tasks of the fold still run."""
        return not self.assignment.dead()

    # -- one partition ------------------------------------------------------------------------------------------------
    async def _run(self, tp: TopicPartition) -> None:
        backoff = Backoff()
        while not self.assignment.is_left(tp):
            try:
                position, crashes = await self._read_position(tp)
                while not self.assignment.is_left(tp):
                    size = self._sizes.get(tp, BATCH)
                    records = await self.reader.fetch(tp, position, size, wait=1.0)
                    if not records:
                        if tp in self.reader.gaps:  # an operator's to mend: a restart would not
                            self.watchdog.excused(tp)
                        continue
                    # what does not come to its end, by being too much for one transaction, is tried again in halves
                    self._sizes[tp] = max(1, len(records) // 2)
                    position = await self._fold(Fetch(tp, position, records), crashes)
                    self._sizes[tp] = min(2 * size, BATCH)
                    self._suspect.discard(tp)
                    backoff.reset()
            except Exception as error:
                # Unavailability, or poison that must not be passed over: the position is read again after a pause.
                self._suspect.add(tp)
                self.watchdog.excused(tp)
                pause = backoff.pause()
                self.failure_log.paused(tp, error, pause)
                await asyncio.sleep(pause)

    async def _read_position(self, tp: TopicPartition) -> tuple[Position, int]:
        async with self.database.connection() as connection:
            stored = await self.positions.load(connection, tp)
        return stored.position, stored.crashes

    async def _fold(self, fetch: Fetch, crashes: int) -> Position:
        tp = fetch.tp
        with self.assignment.batch(tp):
            if tp in self._tried:
                return await self._step(fetch)
            self._tried.add(tp)
            return await self._first(fetch, crashes)

    async def _first(self, fetch: Fetch, crashes: int) -> Position:
        """Fold the first batch of a partition in this process. The crash count rises before the try, and `advance`
        resets it. So a record that kills the process again and again is found, and in the end dead-lettered unread.

        After a crash the first record is tried alone, and only one partition tries at a time, so that a crash is
        counted against the right record.
        """
        if not crashes:
            async with self._counted(fetch.tp):
                return await self._step(fetch)
        first = fetch.records[0]
        try:
            async with self._suspects:
                if crashes >= DEATHS and not never_dead_lettered(first):
                    error = RuntimeError(f"the process died {crashes} times on it")
                    position = await self._dead_letter(fetch.tp, fetch.position, first, error)
                else:
                    async with self._counted(fetch.tp):
                        position = await self._alone(fetch.tp, fetch.position, first)
        except Blocked:
            return await self._wait_until_unblocked(fetch.tp, fetch.position, first)
        return await self._one_by_one(Fetch(fetch.tp, position, fetch.records[1:]))

    @contextlib.asynccontextmanager
    async def _counted(self, tp: TopicPartition) -> AsyncIterator[None]:
        """Count a crash in advance. An error, or a cancellation, takes it back."""
        async with self.database.transaction() as tx:
            await self.positions.count_crash(tx, tp)
        try:
            yield
        except BaseException:
            with contextlib.suppress(*UNAVAILABLE):
                async with self.database.transaction() as tx:
                    await self.positions.count_crash(tx, tp, -1)
            raise

    async def _step(self, fetch: Fetch) -> Position:
        """Fold a batch, together with other partitions' unless it is a suspect. If it holds poison, fold it record
        by record, and dead-letter the bad ones."""
        try:
            if fetch.tp not in self._suspect:
                with contextlib.suppress(RetryIndividually):
                    return self._applied(fetch, await self.transactions.together(fetch))
            return self._applied(fetch, await self.transactions.alone(fetch))
        except Blocked as blocked:
            logger.debug("waiting for another partition", topic_partition=str(fetch.tp), reason=str(blocked))
            return await self._wait_until_unblocked(fetch.tp, fetch.position, fetch.records[0])
        except Exception as error:
            if not is_poison(error):
                raise
        return await self._one_by_one(fetch)

    async def _one_by_one(self, fetch: Fetch) -> Position:
        position = fetch.position
        for record in fetch.records:
            try:
                position = await self._alone(fetch.tp, position, record)
            except Blocked:
                position = await self._wait_until_unblocked(fetch.tp, position, record)
            if self.assignment.is_left(fetch.tp):
                break
        return position

    async def _alone(self, tp: TopicPartition, position: Position, record: Record, *, again: bool = True) -> Position:
        """Fold one record in a transaction of its own. If it fails as poison twice, it becomes a dead letter."""
        try:
            fetch = Fetch(tp, position, [record])
            return self._applied(fetch, await self.transactions.alone(fetch))
        except Blocked:
            raise
        except Exception as error:
            self.failure_log.failed_alone(tp, record)
            if not is_poison(error) or never_dead_lettered(record):
                raise
            poison = error
        if again:
            return await self._alone(tp, position, record, again=False)
        try:
            await self.breaker.check(tp, record)
        except BreakerOpen as open:
            raise open from poison
        return await self._dead_letter(tp, position, record, poison)

    async def _wait_until_unblocked(self, tp: TopicPartition, position: Position, record: Record) -> Position:
        """Retry a record whenever another partition has moved, until it is no longer blocked. The watchdog does not
        count this time."""
        while not self.assignment.is_left(tp):
            self.watchdog.excused(tp)
            await self.transactions.committed(within=LONGEST_WAIT)
            with contextlib.suppress(Blocked):
                return self._advanced(tp, await self.transactions.alone(Fetch(tp, position, [record])))
        return position

    async def _dead_letter(self, tp: TopicPartition, position: Position, record: Record, error: Exception) -> Position:
        moved = await self.transactions.skip(tp, position, record, error)
        self.dead_lettered += 1
        self.failure_log.dead_lettered(tp, record, error)
        return self._advanced(tp, moved)

    def _applied(self, fetch: Fetch, position: Position) -> Position:
        self.breaker.applied(fetch.records[: position.next - fetch.position.next])
        return self._advanced(fetch.tp, position)

    def _advanced(self, tp: TopicPartition, position: Position) -> Position:
        self.watchdog.advanced(tp)
        self.failure_log.moved(tp)
        return position
