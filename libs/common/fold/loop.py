"""The fold: one batch of one partition is one transaction.

    fence the position → the service loads, decides, evolves, saves → append what it decided → commit

State, position and output move together, so that a crash at any point leaves all of them or none. After any doubt (a
failed fence, a lost answer to COMMIT) the position is read again.
"""

import asyncio
import contextlib
from collections.abc import Mapping, Sequence

import structlog

from libs.common.db import UNAVAILABLE, Database
from libs.common.failpoints import failpoint
from libs.common.fold.dead_letters import bury
from libs.common.fold.failures import Backoff, is_poison
from libs.common.fold.watchdog import Watchdog
from libs.common.fold.work import Handler, Waits, Work
from libs.common.log.append import append
from libs.common.log.ownership import HEARTBEAT, Ownership
from libs.common.log.positions import FenceLost, Positions
from libs.common.log.reader import Lag, Position, Reader, Record, Where, after

logger = structlog.get_logger()

BATCH = 500
#: A record that waits for another partition, perhaps of another process, is tried again after so many seconds.
LONGEST_WAIT = 0.1
#: Records that are never dead-lettered: leaving one out would leave a customer in two places.
STOPPING = (b'"type":"customer.left.v1"', b'"type":"customer.merged.v1"')
#: After so many deaths of the process on one position its first record is dead-lettered unread.
DEATHS = 3


class Fold:
    """Reads the partitions that it owns, all at once, each in order."""

    def __init__(
        self, service: str, database: Database, reader: Reader, handler: Handler, topics: Sequence[str], writes: str
    ) -> None:
        self.service = service
        self.database = database
        self.reader = reader
        self.handler = handler
        self.writes = writes
        self.partitions = database.settings.partitions
        self.wheres = [Where(topic, partition) for topic in topics for partition in range(self.partitions)]
        self.positions = Positions(service, "fold")
        self.ownership = Ownership(database, f"{service}/fold", self.wheres)
        self.folded = 0
        self.buried = 0
        self._tasks: dict[Where, asyncio.Task[None]] = {}
        self._tried: set[Where] = set()
        self._balancer: asyncio.Task[None] | None = None
        self._stopping = asyncio.Event()
        self._commit = asyncio.Event()  # set, and replaced, at the next commit of any partition
        self.watchdog = Watchdog(self)

    # -- life ---------------------------------------------------------------------------------------------------------
    async def start(self) -> None:
        async with self.database.transaction() as tx:
            newest = await tx.fetchval(f'SELECT coalesce(max(number), 0) FROM "{self.service}".rulebooks')
            await self.positions.ensure(tx, self.wheres, newest)
        self._balancer = asyncio.create_task(self._balance(), name="fold balance")
        self.watchdog.start()

    async def stop(self) -> None:
        """Drain: finish the batches begun, then give the partitions back."""
        self._stopping.set()
        await self.watchdog.stop()
        if self._balancer:
            self._balancer.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._balancer
        if self._tasks:
            _, late = await asyncio.wait(self._tasks.values(), timeout=5)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        with contextlib.suppress(*UNAVAILABLE):
            await self.ownership.close()

    async def lag(self) -> Mapping[Where, Lag]:
        """How far the stored positions of all partitions are behind, whoever owns them."""
        async with self.database.connection() as connection:
            positions = await self.positions.all(connection)
        return await self.reader.lag({where: positions[where] for where in self.wheres if where in positions})

    @property
    def alive(self) -> bool:
        """Whether every task of the fold still runs."""
        tasks = [*self._tasks.values(), *([self._balancer] if self._balancer else [])]
        return self._stopping.is_set() or all(not task.done() for task in tasks)

    async def _balance(self) -> None:
        while True:
            try:
                for where in await self.ownership.balance() - self._tasks.keys():
                    self._tasks[where] = asyncio.create_task(self._run(where), name=f"fold {where}")
                for where in self.ownership.surplus:
                    await self._release(where)
                    await self.ownership.give_back(where)
            except UNAVAILABLE as error:
                logger.warning("partitions lost: the database is away", error=repr(error))
                for where in list(self._tasks):
                    await self._release(where)
            await asyncio.sleep(HEARTBEAT)

    async def _release(self, where: Where) -> None:
        if task := self._tasks.pop(where, None):
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    # -- one partition ------------------------------------------------------------------------------------------------
    async def _run(self, where: Where) -> None:
        backoff = Backoff()
        while not self._stopping.is_set():
            try:
                position, deaths = await self._read_position(where)
                while not self._stopping.is_set():
                    records = await self.reader.fetch(where, position, BATCH, wait=1.0)
                    if not records:
                        continue
                    if where in self._tried:
                        position = await self._step(where, position, records)
                    else:
                        self._tried.add(where)
                        position = await self._first(where, position, deaths, records)
                    self.watchdog.advanced(where)
                    backoff.reset()
            except Exception as error:
                # Unavailability, or poison that must not be passed over: the position is read again after a pause.
                self.watchdog.excused(where)
                pause = backoff.pause()
                log = logger.error if is_poison(error) else logger.warning
                log(
                    "fold paused", where=str(where), error=repr(error), pause=round(pause, 2), exc_info=is_poison(error)
                )
                await asyncio.sleep(pause)

    async def _read_position(self, where: Where) -> tuple[Position, int]:
        async with self.database.connection() as connection:
            stored = await self.positions.load(connection, where)
        return stored.position, stored.deaths

    async def _first(self, where: Where, position: Position, deaths: int, records: list[Record]) -> Position:
        """The first batch of a partition in this process. The try is counted before it is made, and `advance` takes the
        count back: so a record on which the process dies again and again is found, and in the end buried unread."""
        async with self.database.transaction() as tx:
            await self.positions.note_death(tx, where, deaths + 1)
        if deaths >= DEATHS and not _must_not_be_buried(records[0]):
            await self._bury(where, position, records[0], RuntimeError(f"the process died {deaths} times on it"))
            return after(position, records[:1])
        return await (self._one_by_one if deaths else self._step)(where, position, records)

    async def _step(self, where: Where, position: Position, records: list[Record]) -> Position:
        """Fold a batch; where it is poisoned, one by one, and the bad ones into the dead letters."""
        try:
            return await self._transact(where, position, records)
        except Waits as waits:
            logger.debug("waiting for another partition", where=str(where), reason=str(waits))
            return await self._wait(where, position, records[0])
        except Exception as error:
            if not is_poison(error):
                raise
        return await self._one_by_one(where, position, records)

    async def _one_by_one(self, where: Where, position: Position, records: list[Record]) -> Position:
        for record in records:
            try:
                position = await self._transact(where, position, [record])
            except Waits:
                position = await self._wait(where, position, record)
                if position.next == record.offset:  # told to stop while it still waits
                    return position
            except Exception as error:
                if not is_poison(error) or _must_not_be_buried(record):
                    raise
                await self._bury(where, position, record, error)
                position = after(position, [record])
        return position

    async def _wait(self, where: Where, position: Position, record: Record) -> Position:
        """Try a record again whenever another partition has moved, until it need not wait. That is not being stuck."""
        while not self._stopping.is_set():
            self.watchdog.excused(where)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LONGEST_WAIT):
                    await self._commit.wait()
            with contextlib.suppress(Waits):
                return await self._transact(where, position, [record])
        return position

    async def _transact(self, where: Where, position: Position, records: list[Record]) -> Position:
        if records[0].offset != position.next:
            raise FenceLost(f"{where} stands at {position.next}, not at {records[0].offset}")
        moved = after(position, records)
        async with self.database.transaction() as tx:
            rulebook = await self.positions.advance(tx, where, position, moved)
            failpoint("fold.fenced")
            outcome = await self.handler.apply(tx, Work(where, records, rulebook, position.next))
            failpoint("fold.saved")
            if outcome.taken is not None:
                records = records[: outcome.taken]
                whole, moved = moved, after(position, records)
                await self.positions.advance(tx, where, whole, moved)
            await append(tx, self.writes, outcome.outgoing, self.partitions)
            failpoint("fold.appended")
        failpoint("fold.committed")
        for done in outcome.committed:
            done()
        commit, self._commit = self._commit, asyncio.Event()
        commit.set()
        self.folded += len(records)
        return moved

    async def _bury(self, where: Where, position: Position, record: Record, error: Exception) -> None:
        """Put a record into the dead letters, in the transaction that passes over it."""
        async with self.database.transaction() as tx:
            await self.positions.advance(tx, where, position, after(position, [record]))
            await bury(tx, self.service, record, error)
        self.buried += 1
        logger.error("record dead-lettered", where=str(where), offset=record.offset, error=repr(error))


def _must_not_be_buried(record: Record) -> bool:
    return any(mark in record.value[:400] for mark in STOPPING)
