"""The fold: it reads its partitions and hands their records to `transactions`.

After any failure (a failed fence, a lost answer to COMMIT) it reads the position again. If a batch fails because of a
record, it applies the records one by one; the record that fails alone becomes a dead letter.
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
#: Seconds until a blocked record is tried again. The partition that it waits for may belong to another process.
RETRY_BLOCKED = 0.1
#: If the process crashed this often at one position, its first record is dead-lettered without another try.
MAX_CRASHES = 3


class Fold:
    """Folds the partitions that it owns, each in order. `pause` is in seconds (see `Transactions`)."""

    def __init__(
        self,
        service: str,
        database: Database,
        reader: Reader,
        handler: Handler,
        topics: Sequence[str],
        writes: str,
        pause: float = 0.0,
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
        self.transactions = Transactions(service, database, self.positions, handler, writes, self.notifier, pause)
        self.dead_lettered = 0
        self.failure_log = FailureLog()
        self.breaker = Breaker(service, database)
        self._started: set[TopicPartition] = set()  # their first batch was tried
        self._suspect_lock = asyncio.Lock()  # suspects are tried one at a time, so a crash points to one record
        self._sizes: dict[TopicPartition, int] = {}  # of the next batch
        self._failing: set[TopicPartition] = set()  # failed and not succeeded since; they share no transactions
        self.assignment = Assignment("fold", self.ownership, self.tps, self._run, self.failure_log.lost)
        self.watchdog = Watchdog(self)

    # -- life ---------------------------------------------------------------------------------------------------------
    async def start(self) -> None:
        async with self.database.transaction() as tx:
            await self.positions.ensure(tx, self.tps, await rulebooks.newest(tx, self.service))
        self.assignment.start()
        self.watchdog.start()

    async def stop(self) -> None:
        """Finish the batches in progress, then give the partitions back."""
        self.assignment.stopping.set()
        await self.watchdog.stop()
        await self.assignment.stop()
        await self.transactions.stop()
        await self.assignment.close()
        await self.notifier.stop()

    async def lag(self) -> Mapping[TopicPartition, Lag]:
        """How far the stored positions of all partitions are behind, in this process and in others."""
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
                        if tp in self.reader.gaps:  # needs an operator; a restart would not help
                            self.watchdog.excused(tp)
                        continue
                    # if this batch fails, perhaps because it is too large for one transaction, the next is half of it
                    self._sizes[tp] = max(1, len(records) // 2)
                    position = await self._fold(Fetch(tp, position, records), crashes)
                    self._sizes[tp] = min(2 * size, BATCH)
                    self._failing.discard(tp)
                    backoff.reset()
            except Exception as error:
                # something is unavailable, or a poison record must not be skipped: pause, then read the position again
                self._failing.add(tp)
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
            if tp in self._started:
                return await self._apply_batch(fetch)
            self._started.add(tp)
            return await self._first_batch(fetch, crashes)

    async def _first_batch(self, fetch: Fetch, crashes: int) -> Position:
        """Fold the first batch of a partition in this process.

        The crash count rises before the try, and `advance` resets it. So it counts how often the process crashed at
        this position, and a record that crashes it MAX_CRASHES times is dead-lettered without another try.

        After a crash, the first record is a suspect. It is tried alone, and only one suspect of all partitions at a
        time, so that a crash is not counted against the wrong record.
        """
        if not crashes:
            async with self._counting_crash(fetch.tp):
                return await self._apply_batch(fetch)
        first = fetch.records[0]
        try:
            async with self._suspect_lock:
                if crashes >= MAX_CRASHES and not never_dead_lettered(first):
                    error = RuntimeError(f"the process died {crashes} times on it")
                    position = await self._dead_letter(fetch.tp, fetch.position, first, error)
                else:
                    async with self._counting_crash(fetch.tp):
                        position = await self._apply_alone(fetch.tp, fetch.position, first)
        except Blocked:
            return await self._wait_until_unblocked(fetch.tp, fetch.position, first)
        return await self._one_by_one(Fetch(fetch.tp, position, fetch.records[1:]))

    @contextlib.asynccontextmanager
    async def _counting_crash(self, tp: TopicPartition) -> AsyncIterator[None]:
        """Raise the crash count during the block. If the block raises, that is no crash: lower it again."""
        async with self.database.transaction() as tx:
            await self.positions.count_crash(tx, tp)
        try:
            yield
        except BaseException:
            with contextlib.suppress(*UNAVAILABLE):
                async with self.database.transaction() as tx:
                    await self.positions.count_crash(tx, tp, -1)
            raise

    async def _apply_batch(self, fetch: Fetch) -> Position:
        """Fold a batch, in one transaction with other partitions unless this partition is failing.

        If a record is poison, fold the records one by one and dead-letter those that fail.
        """
        try:
            if fetch.tp not in self._failing:
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
                position = await self._apply_alone(fetch.tp, position, record)
            except Blocked:
                position = await self._wait_until_unblocked(fetch.tp, position, record)
            if self.assignment.is_left(fetch.tp):
                break
        return position

    async def _apply_alone(
        self, tp: TopicPartition, position: Position, record: Record, *, again: bool = True
    ) -> Position:
        """Apply one record in its own transaction. If it fails as poison twice, it becomes a dead letter."""
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
            return await self._apply_alone(tp, position, record, again=False)
        try:
            await self.breaker.check(tp, record)
        except BreakerOpen as open:
            raise open from poison
        return await self._dead_letter(tp, position, record, poison)

    async def _wait_until_unblocked(self, tp: TopicPartition, position: Position, record: Record) -> Position:
        """Retry a blocked record whenever another partition commits, until it is applied. The watchdog excuses this."""
        while not self.assignment.is_left(tp):
            self.watchdog.excused(tp)
            await self.transactions.committed(within=RETRY_BLOCKED)
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
