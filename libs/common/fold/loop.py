"""The fold: reads the partitions that it owns and hands their batches to `transactions`.

After any doubt (a failed fence, a lost answer to COMMIT) the position is read again. A record that cannot be applied is
found by trying it alone, and becomes a dead letter.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence

import structlog

from libs.common.db.errors import UNAVAILABLE
from libs.common.db.pool import Database
from libs.common.fold import rulebooks
from libs.common.fold.breaker import Breaker, BreakerOpen
from libs.common.fold.dead_letters import never_dead_lettered
from libs.common.fold.failure_log import FailureLog
from libs.common.fold.transactions import Batch, RetryIndividually, Transactions
from libs.common.fold.watchdog import Watchdog
from libs.common.fold.work import Blocked, Handler
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
    """Reads the partitions that it owns, all at once, each in order."""

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
        self.wheres = [TopicPartition(topic, partition) for topic in topics for partition in range(self.partitions)]
        self.positions = Positions(service, "fold")
        self.notifier = Notifier(database)
        self.ownership = Ownership(database, f"{service}/fold", self.wheres)
        self.transactions = Transactions(service, database, self.positions, handler, writes, self.notifier, rest)
        self.dead_lettered = 0
        self.failure_log = FailureLog()
        self.breaker = Breaker(service, database)
        self._tried: set[TopicPartition] = set()
        self._suspects = asyncio.Lock()  # one at a time, so that it is known of which one a process died
        self._sizes: dict[TopicPartition, int] = {}
        self._suspect: set[TopicPartition] = set()  # failed, and have not succeeded since: not to be another's burden
        self.assignment = Assignment("fold", self.ownership, self.wheres, self._run, self.failure_log.lost)
        self.watchdog = Watchdog(self)

    # -- life ---------------------------------------------------------------------------------------------------------
    async def start(self) -> None:
        async with self.database.transaction() as tx:
            await self.positions.ensure(tx, self.wheres, await rulebooks.newest(tx, self.service))
        self.assignment.start()
        self.watchdog.start()

    async def stop(self) -> None:
        """Drain: finish the batches begun, then give the partitions back."""
        self.assignment.stopping.set()
        await self.watchdog.stop()
        await self.assignment.stop()
        await self.transactions.stop()
        await self.assignment.close()
        await self.notifier.stop()

    async def lag(self) -> Mapping[TopicPartition, Lag]:
        """How far the stored positions of all partitions are behind, whoever owns them."""
        async with self.database.connection() as connection:
            positions = await self.positions.all(connection)
        return await self.reader.lag({where: positions[where] for where in self.wheres if where in positions})

    @property
    def folded(self) -> int:
        """How many records this process has applied."""
        return self.transactions.folded

    @property
    def alive(self) -> bool:
        """Whether every task of the fold still runs."""
        return not self.assignment.dead()

    # -- one partition ------------------------------------------------------------------------------------------------
    async def _run(self, where: TopicPartition) -> None:
        backoff = Backoff()
        while not self.assignment.is_left(where):
            try:
                position, crashes = await self._read_position(where)
                while not self.assignment.is_left(where):
                    size = self._sizes.get(where, BATCH)
                    records = await self.reader.fetch(where, position, size, wait=1.0)
                    if not records:
                        if where in self.reader.gaps:  # an operator's to mend: a restart would not
                            self.watchdog.excused(where)
                        continue
                    # what does not come to its end, by being too much for one transaction, is tried again in halves
                    self._sizes[where] = max(1, len(records) // 2)
                    position = await self._fold(Batch(where, position, records), crashes)
                    self._sizes[where] = min(2 * size, BATCH)
                    self._suspect.discard(where)
                    backoff.reset()
            except Exception as error:
                # Unavailability, or poison that must not be passed over: the position is read again after a pause.
                self._suspect.add(where)
                self.watchdog.excused(where)
                pause = backoff.pause()
                self.failure_log.paused(where, error, pause)
                await asyncio.sleep(pause)

    async def _read_position(self, where: TopicPartition) -> tuple[Position, int]:
        async with self.database.connection() as connection:
            stored = await self.positions.load(connection, where)
        return stored.position, stored.crashes

    async def _fold(self, batch: Batch, crashes: int) -> Position:
        where = batch.where
        with self.assignment.batch(where):
            if where in self._tried:
                return await self._step(batch)
            self._tried.add(where)
            return await self._first(batch, crashes)

    async def _first(self, batch: Batch, crashes: int) -> Position:
        """The first batch of a partition in this process. The try is counted before it is made, and `advance` sets the
        count back: so a record on which the process dies again and again is found, and in the end dead-lettered unread.

        Once a process has died the first record is tried alone, and in one partition at a time: what another partition's
        record does to the process is not to be counted against this one's.
        """
        if not crashes:
            async with self._counted(batch.where):
                return await self._step(batch)
        first = batch.records[0]
        try:
            async with self._suspects:
                if crashes >= DEATHS and not never_dead_lettered(first):
                    error = RuntimeError(f"the process died {crashes} times on it")
                    position = await self._dead_letter(batch.where, batch.position, first, error)
                else:
                    async with self._counted(batch.where):
                        position = await self._alone(batch.where, batch.position, first)
        except Blocked:
            return await self._wait_until_unblocked(batch.where, batch.position, first)
        return await self._one_by_one(Batch(batch.where, position, batch.records[1:]))

    @contextlib.asynccontextmanager
    async def _counted(self, where: TopicPartition) -> AsyncIterator[None]:
        """Count a death beforehand; an error is none, nor is being told to stop."""
        async with self.database.transaction() as tx:
            await self.positions.count_crash(tx, where)
        try:
            yield
        except BaseException:
            with contextlib.suppress(*UNAVAILABLE):
                async with self.database.transaction() as tx:
                    await self.positions.count_crash(tx, where, -1)
            raise

    async def _step(self, batch: Batch) -> Position:
        """Fold a batch, with other partitions' unless it is doubtful; where it is poisoned, one by one, and the bad ones
        into the dead letters."""
        try:
            if batch.where not in self._suspect:
                with contextlib.suppress(RetryIndividually):
                    return self._applied(batch, await self.transactions.together(batch))
            return self._applied(batch, await self.transactions.alone(batch))
        except Blocked as blocked:
            logger.debug("waiting for another partition", where=str(batch.where), reason=str(blocked))
            return await self._wait_until_unblocked(batch.where, batch.position, batch.records[0])
        except Exception as error:
            if not is_poison(error):
                raise
        return await self._one_by_one(batch)

    async def _one_by_one(self, batch: Batch) -> Position:
        position = batch.position
        for record in batch.records:
            try:
                position = await self._alone(batch.where, position, record)
            except Blocked:
                position = await self._wait_until_unblocked(batch.where, position, record)
            if self.assignment.is_left(batch.where):
                break
        return position

    async def _alone(
        self, where: TopicPartition, position: Position, record: Record, *, again: bool = True
    ) -> Position:
        """One record in a transaction of its own. Where it is poison twice it goes into the dead letters."""
        try:
            batch = Batch(where, position, [record])
            return self._applied(batch, await self.transactions.alone(batch))
        except Blocked:
            raise
        except Exception as error:
            self.failure_log.failed_alone(where, record)
            if not is_poison(error) or never_dead_lettered(record):
                raise
            poison = error
        if again:
            return await self._alone(where, position, record, again=False)
        try:
            await self.breaker.check(where, record)
        except BreakerOpen as open:
            raise open from poison
        return await self._dead_letter(where, position, record, poison)

    async def _wait_until_unblocked(self, where: TopicPartition, position: Position, record: Record) -> Position:
        """Try a record again whenever another partition has moved, until it need not wait. That is not being stuck."""
        while not self.assignment.is_left(where):
            self.watchdog.excused(where)
            await self.transactions.committed(within=LONGEST_WAIT)
            with contextlib.suppress(Blocked):
                return self._advanced(where, await self.transactions.alone(Batch(where, position, [record])))
        return position

    async def _dead_letter(
        self, where: TopicPartition, position: Position, record: Record, error: Exception
    ) -> Position:
        moved = await self.transactions.skip(where, position, record, error)
        self.dead_lettered += 1
        self.failure_log.dead_lettered(where, record, error)
        return self._advanced(where, moved)

    def _applied(self, batch: Batch, position: Position) -> Position:
        self.breaker.applied(batch.records[: position.next - batch.position.next])
        return self._advanced(batch.where, position)

    def _advanced(self, where: TopicPartition, position: Position) -> Position:
        self.watchdog.advanced(where)
        self.failure_log.moved(where)
        return position
