"""The transactions of a fold. Batches of several partitions that are ready at the same time share one transaction:

    fence the positions, load → decide, evolve → save, append the facts → commit

Each database step is one round trip. State, positions and output are committed together, so a crash at any point leaves
all of them or none.
"""

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from libs.common.db.pipeline import Pipeline
from libs.common.db.pool import Database, Tx, manual_transaction
from libs.common.fold.batch import Batch, Blocked, Handler, Outcome
from libs.common.fold.dead_letters import dead_letter
from libs.common.log.append import append
from libs.common.log.notifier import Notifier
from libs.common.log.positions import Fence, FenceLost, Positions
from libs.common.log.reader import Position, Record, TopicPartition, after
from libs.common.observability import tracing
from libs.common.runtime.failpoints import failpoint

#: The most records in one transaction, unless a single batch has more.
MAX_RECORDS = 1000
#: Batches of at least so many records share transactions only with each other. So small batches do not wait for a
#: partition that has a customer with a thousand events a second.
LARGE_BATCH = 50


class _RulebookChanged(OSError):
    """The rulebook in force is not the one that the records were read under. It counts as unavailability."""

    def __init__(self, rulebook: int) -> None:
        super().__init__(rulebook)
        self.rulebook = rulebook


def _require(rulebook: int, fence: Fence) -> None:
    """Raises _RulebookChanged if another rulebook is in force, FenceLost if a position is not where it was left."""
    failpoint("fold.fenced")
    if (found := fence.rulebook()) != rulebook:
        raise _RulebookChanged(found)


class RetryIndividually(Exception):
    """A transaction of several partitions failed. Each must retry alone, to find the one that failed."""


@dataclass(frozen=True, slots=True)
class Fetch:
    """The fetched records of one partition; they follow `position`."""

    tp: TopicPartition
    position: Position
    records: list[Record]

    def behind(self, count: int) -> Position:
        """The position after the first `count` records."""
        return after(self.position, self.records[:count])


@dataclass(eq=False, slots=True)
class _Ready:
    """A fetch that waits for a transaction; `done` gets the position after it, or the error."""

    fetch: Fetch
    done: "asyncio.Future[Position]"


class _Queue:
    """Fetches that a worker applies, one transaction after the other."""

    __slots__ = ("ready", "worker")

    def __init__(self) -> None:
        self.ready: deque[_Ready] = deque()
        self.worker: asyncio.Task[None] | None = None

    def next_group(self) -> list[_Ready]:
        group: list[_Ready] = []
        size = 0
        while self.ready and (not group or size + len(self.ready[0].fetch.records) <= MAX_RECORDS):
            ready = self.ready.popleft()
            if not ready.done.done():  # not cancelled by its partition's task
                group.append(ready)
                size += len(ready.fetch.records)
        return group


class Transactions:
    """Applies batches. `together` shares transactions between batches: small with small ones, large with large ones.
    `alone` and `skip` use a transaction of their own.

    After a small shared transaction it waits `pause` seconds, so that more records share the next one.
    """

    def __init__(
        self,
        service: str,
        database: Database,
        positions: Positions,
        handler: Handler,
        writes: str,
        notifier: Notifier,
        pause: float = 0.0,
    ) -> None:
        self._service = service
        self._pause = pause
        self._database = database
        self._positions = positions
        self._handler = handler
        self._notifier = notifier
        self._writes = writes
        self._small, self._large = _Queue(), _Queue()
        self._rulebook = 0  # in force at the last transaction
        self._commit = asyncio.Event()  # set and replaced at each commit
        self.folded = 0

    async def stop(self) -> None:
        """End the workers. Call it when no task waits in `together` any more."""
        for queue in (self._small, self._large):
            if queue.worker:
                queue.worker.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await queue.worker

    async def together(self, fetch: Fetch) -> Position:
        """Apply a batch together with other partitions' batches that are ready. Returns the position after it.

        Raises RetryIndividually if the transaction failed with several partitions in it; else what `alone` raises.
        """
        ready = _Ready(fetch, asyncio.get_running_loop().create_future())
        queue = self._small if len(fetch.records) < LARGE_BATCH else self._large
        queue.ready.append(ready)
        if queue.worker is None or queue.worker.done():
            queue.worker = asyncio.create_task(self._work(queue), name="fold transactions")
        return await ready.done

    async def alone(self, fetch: Fetch) -> Position:
        """Apply a batch in its own transaction. Returns the position after it.

        Raises Blocked if its first record must wait for another partition, FenceLost if the stored position is another
        one, and what the service or PostgreSQL raise.
        """
        return (await self._transact([fetch]))[0]

    async def skip(self, tp: TopicPartition, position: Position, record: Record, error: Exception) -> Position:
        """Dead-letter a record and move the position past it, in one transaction. Raises FenceLost."""
        moved, began = after(position, [record]), time.time_ns()
        async with self._database.transaction() as tx:
            await self._positions.advance(tx, {tp: (position, moved)})
            await self._handler.skip(tx, record)
            await dead_letter(tx, self._service, record, error)
        tracing.dead_lettered(self._service, record, error, began)
        return moved

    async def committed(self, within: float) -> None:
        """Wait for the next commit of any partition, at most `within` seconds."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within):
                await self._commit.wait()

    async def _work(self, queue: _Queue) -> None:
        """Run one transaction after the other while fetches are ready, with a pause after small ones."""
        while group := queue.next_group():
            await self._apply_group(group)
            if self._pause and sum(len(ready.fetch.records) for ready in group) < MAX_RECORDS / 2:
                await asyncio.sleep(self._pause)

    async def _apply_group(self, group: list[_Ready]) -> None:
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
                raise FenceLost(f"{fetch.tp} is at {fetch.position.next}, not at {fetch.records[0].offset}")
        began = time.time_ns()
        async with self._database.connection() as connection:
            try:
                outcome, reached = await self._apply(connection, fetches, self._rulebook)
            except _RulebookChanged as changed:
                self._rulebook = changed.rulebook
                outcome, reached = await self._apply(connection, fetches, changed.rulebook)
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
        """Run one transaction and commit it. Returns the outcome and the positions reached.

        The fence is sent with the service's first statement, before its answer is known. So the service works under
        `rulebook`, the one in force last. If the fence then finds another rulebook, this raises _RulebookChanged and
        rolls back.
        """
        ends = {fetch.tp: fetch.behind(len(fetch.records)) for fetch in fetches}
        reached = dict(ends)
        async with manual_transaction(connection):
            pipeline = Pipeline(connection)
            fence = self._positions.fence(pipeline, {fetch.tp: (fetch.position, ends[fetch.tp]) for fetch in fetches})
            batches = [Batch(fetch.tp, fetch.records, rulebook, fetch.records[0].offset) for fetch in fetches]
            try:
                outcome = await self._handler.apply(pipeline, batches)
                if not fence.passed:
                    await pipeline.flush()
            except Exception:
                if fence.passed:  # a lost fence or another rulebook is the better explanation of the failure
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
