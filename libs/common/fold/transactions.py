"""The transactions of a fold. Partitions that are ready at the same time share one.

    fence the positions, load → decide, evolve → save, append what was decided → commit

Each step is one round trip. State, positions and output move together, so a crash at any point leaves all of them or
none.
"""

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from libs.common.db.pipeline import Pipeline
from libs.common.db.pool import Database, Tx, begun
from libs.common.fold.batch import Batch, Blocked, Handler, Outcome
from libs.common.fold.dead_letters import dead_letter
from libs.common.log.append import append
from libs.common.log.notifier import Notifier
from libs.common.log.positions import Fence, FenceLost, Positions
from libs.common.log.reader import Position, Record, TopicPartition, after
from libs.common.observability import tracing
from libs.common.runtime.failpoints import failpoint

#: Records in one transaction, unless one partition alone brings more.
LARGEST = 1000
#: Batches of so many records go through transactions of their own, beside those of the smaller ones: so the other partitions
#: need not wait for one that has a customer with a thousand events a second.
MUCH = 50


class _Published(OSError):
    """Another rulebook is in force than the one that the records were read under. It counts as unavailability, not
    as poison."""

    def __init__(self, rulebook: int) -> None:
        super().__init__(rulebook)
        self.rulebook = rulebook


def _require(rulebook: int, fence: Fence) -> None:
    failpoint("fold.fenced")
    if (found := fence.rulebook()) != rulebook:
        raise _Published(found)


class RetryIndividually(Exception):
    """A transaction of several partitions failed. Each retries alone, so that the bad one is found."""


@dataclass(frozen=True, slots=True)
class Fetch:
    """What a partition has ready: the records that follow `position`."""

    tp: TopicPartition
    position: Position
    records: list[Record]

    def behind(self, count: int) -> Position:
        """The position after the first `count` records."""
        return after(self.position, self.records[:count])


@dataclass(eq=False, slots=True)
class _Ready:
    fetch: Fetch
    done: "asyncio.Future[Position]"


class _Queue:
    """Fetches that go through one transaction after the other."""

    __slots__ = ("ready", "worker")

    def __init__(self) -> None:
        self.ready: deque[_Ready] = deque()
        self.worker: asyncio.Task[None] | None = None

    def next_group(self) -> list[_Ready]:
        group: list[_Ready] = []
        size = 0
        while self.ready and (not group or size + len(self.ready[0].fetch.records) <= LARGEST):
            ready = self.ready.popleft()
            if not ready.done.done():  # who waited for it has not left
                group.append(ready)
                size += len(ready.fetch.records)
        return group


class Transactions:
    """Applies fetches. `together` shares transactions: small fetches with small ones, large with large. `alone` and
    `skip` have transactions of their own. After a small shared one it rests for `rest` seconds, so that more comes
    together."""

    def __init__(
        self,
        service: str,
        database: Database,
        positions: Positions,
        handler: Handler,
        writes: str,
        notifier: Notifier,
        rest: float = 0.0,
    ) -> None:
        self._service = service
        self._rest = rest
        self._database = database
        self._positions = positions
        self._handler = handler
        self._notifier = notifier
        self._writes = writes
        self._small, self._large = _Queue(), _Queue()
        self._rulebook = 0  # in force when it was last looked
        self._commit = asyncio.Event()  # set, and replaced, at the next commit
        self.folded = 0

    async def stop(self) -> None:
        """Stop the workers. Call this when no fetch waits any more."""
        for queue in (self._small, self._large):
            if queue.worker:
                queue.worker.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await queue.worker

    async def together(self, fetch: Fetch) -> Position:
        """Apply a fetch with what other partitions have ready. Returns the position after it.

        Raises RetryIndividually if the transaction failed and held other fetches too; else raises as `alone` does.
        """
        ready = _Ready(fetch, asyncio.get_running_loop().create_future())
        queue = self._small if len(fetch.records) < MUCH else self._large
        queue.ready.append(ready)
        if queue.worker is None or queue.worker.done():
            queue.worker = asyncio.create_task(self._work(queue), name="fold transactions")
        return await ready.done

    async def alone(self, fetch: Fetch) -> Position:
        """Apply a fetch. Returns the position after it. Raises Blocked if its first record must wait for another
        partition, FenceLost if the position has moved, and what the service or PostgreSQL raise."""
        return (await self._transact([fetch]))[0]

    async def skip(self, tp: TopicPartition, position: Position, record: Record, error: Exception) -> Position:
        """Dead-letter a record, in the transaction that moves the position over it."""
        moved, began = after(position, [record]), time.time_ns()
        async with self._database.transaction() as tx:
            await self._positions.advance(tx, {tp: (position, moved)})
            await self._handler.skip(tx, record)
            await dead_letter(tx, self._service, record, error)
        tracing.dead_lettered(self._service, record, error, began)
        return moved

    async def committed(self, within: float) -> None:
        """Return at the next commit of any partition, or after `within` seconds."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within):
                await self._commit.wait()

    async def _work(self, queue: _Queue) -> None:
        """Run one transaction after the other while fetches are ready."""
        while group := queue.next_group():
            await self._share(group)
            if self._rest and sum(len(ready.fetch.records) for ready in group) < LARGEST / 2:
                await asyncio.sleep(self._rest)

    async def _share(self, group: list[_Ready]) -> None:
        try:
            results = await self._transact([ready.fetch for ready in group])
        except Exception as error:
            for ready in group:
                if not ready.done.done():
                    ready.done.set_exception(error if len(group) == 1 else RetryIndividually())
            return
        except BaseException:
            for ready in group:
                ready.done.cancel()
            raise
        for ready, moved in zip(group, results, strict=True):
            if ready.done.done():
                continue
            if moved == ready.fetch.position:
                ready.done.set_exception(Blocked(f"{ready.fetch.tp} waits for another partition"))
            else:
                ready.done.set_result(moved)

    async def _transact(self, fetches: Sequence[Fetch]) -> list[Position]:
        for fetch in fetches:
            first = fetch.records[0]
            if first.offset != fetch.position.next and (first.epoch or 0) <= fetch.position.epoch:
                raise FenceLost(f"{fetch.tp} stands at {fetch.position.next}, not at {fetch.records[0].offset}")
        began = time.time_ns()
        async with self._database.connection() as connection:
            try:
                outcome, reached = await self._apply(connection, fetches, self._rulebook)
            except _Published as published:
                self._rulebook = published.rulebook
                outcome, reached = await self._apply(connection, fetches, published.rulebook)
            failpoint("fold.committed")
        for done in outcome.committed:
            done()
        for fetch in fetches:
            records = fetch.records[: reached[fetch.tp].next - fetch.records[0].offset]
            tracing.folded(self._service, records, began)
            self.folded += len(records)
        commit, self._commit = self._commit, asyncio.Event()
        commit.set()
        return [reached[fetch.tp] for fetch in fetches]

    async def _apply(
        self, connection: Tx, fetches: Sequence[Fetch], rulebook: int
    ) -> tuple[Outcome, dict[TopicPartition, Position]]:
        """Run one transaction. Returns its outcome and the positions reached.

        The fence travels with the service's first statement, so the service works under the rulebook that was in force
        last. If the fence finds another rulebook, _Published rolls the transaction back.
        """
        ends = {fetch.tp: fetch.behind(len(fetch.records)) for fetch in fetches}
        reached = dict(ends)
        async with begun(connection):
            pipeline = Pipeline(connection)
            fence = self._positions.fence(pipeline, {fetch.tp: (fetch.position, ends[fetch.tp]) for fetch in fetches})
            batches = [Batch(fetch.tp, fetch.records, rulebook, fetch.records[0].offset) for fetch in fetches]
            try:
                outcome = await self._handler.apply(pipeline, batches)
                if not fence.passed:
                    await pipeline.flush()
            except Exception:
                if fence.passed:  # what failed under a lost fence or another rulebook says nothing of the records
                    _require(rulebook, fence)
                raise
            _require(rulebook, fence)
            failpoint("fold.decided")
            if outcome.taken:
                if len(fetches) == 1 and not outcome.taken[fetches[0].tp]:
                    raise Blocked(f"{fetches[0].tp} waits for another partition")
                reached |= {
                    fetch.tp: fetch.behind(outcome.taken[fetch.tp]) for fetch in fetches if fetch.tp in outcome.taken
                }
                await pipeline.flush()
                back = {tp: (ends[tp], reached[tp]) for tp in outcome.taken}
                await self._positions.advance(pipeline, back)
            written = await append(pipeline, self._writes, outcome.outgoing, self._database.settings.partitions)
            await pipeline.flush()
            failpoint("fold.written")
            await self._notifier.commit(connection, self._writes, written)
        return outcome, reached
