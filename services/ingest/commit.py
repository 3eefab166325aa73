"""Group commit: what requests want to store at the same time is appended together, in one transaction."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial

from libs.common.errors import Unavailable
from libs.common.log.append import Outgoing
from libs.common.runtime.component import Check
from libs.common.runtime.failpoints import failpoint
from services.ingest.log import Log
from services.ingest.timeouts import Deadlines

COMMITTERS = 2  # one may prepare while the other waits for the disk,
SECOND_FROM = 200  # once so many events wait; few are cheaper to store in one group than in two
RECORDS = 5_000  # in one append, unless a single request has more


#: Called once with the outcome: None when the records are durable, else the error.
Settle = Callable[[Exception | None], None]


class _Waiting:
    __slots__ = ("records", "settle")

    def __init__(self, records: Sequence[Outgoing], settle: Settle) -> None:
        self.records = records
        self.settle: Settle | None = settle  # None: nobody waits any more


class GroupCommit:
    """`append` returns when the records are durable. Bounded in events (`queue_limit`) and in time (`deadline`, seconds).

    A request that is cancelled or past its deadline takes nothing of the others with it. No task runs while nothing waits.
    """

    def __init__(self, log: Log, queue_limit: int, deadline: float, name: str = "group commit") -> None:
        self.name = name
        self._log = log
        self._queue_limit = queue_limit
        self._deadline = deadline
        self._deadlines: Deadlines[_Waiting] = Deadlines(deadline, self._expire)
        self._queue: deque[_Waiting] = deque()
        self._queued = 0
        self._committers: set[asyncio.Task[None]] = set()
        self._stopping = False

    async def start(self) -> None:
        self._stopping = False

    async def stop(self) -> None:
        """Refuse new records, commit those that wait."""
        self._stopping = True
        await asyncio.gather(*self._committers)

    async def check(self) -> Check:
        fill = f"{self._queued:,} of {self._queue_limit:,} events wait to be stored"
        return Check(self._queued < self._queue_limit, fill)

    def waiting(self) -> int:
        """How many events wait to be stored."""
        return self._queued

    async def append(self, records: Sequence[Outgoing]) -> None:
        """Make the records durable, in their order. Raises what `submit` raises, and the error that it would pass to `settle`."""
        done = asyncio.get_running_loop().create_future()
        waiting = self.submit(records, partial(_settle, done))
        try:
            await done
        except asyncio.CancelledError:
            self._forget(waiting)
            raise
        finally:  # what is raised holds this frame, and that the records till a collection if it leads back
            del done, waiting

    def submit(self, records: Sequence[Outgoing], settle: Settle) -> _Waiting:
        """Make the records durable, in their order, and call `settle` then, in a turn of the loop of its own.

        It gets Unavailable when the log is unavailable or the deadline has passed; then the records may be in the log all the same, and a
        retry is a duplicate with the same record ids. Otherwise it is what the log raises when it refuses these very
        records. Raises Unavailable itself when the queue is full, or the service is stopping.
        """
        if self._stopping:
            raise Unavailable("the service is stopping: send the events again", retry_after=1)
        if self._queued + len(records) > self._queue_limit and self._queued:
            raise Unavailable("too many events wait to be stored: send these again in a moment", retry_after=2)
        waiting = _Waiting(records, settle)
        self._deadlines.add(waiting)
        self._queue.append(waiting)
        self._queued += len(records)
        if not self._committers or (len(self._committers) < COMMITTERS and self._queued >= SECOND_FROM):
            committer = asyncio.create_task(self._commit_all())
            self._committers.add(committer)
            committer.add_done_callback(self._committers.discard)
        return waiting

    def _expire(self, waiting: _Waiting) -> None:
        late = f"the log did not answer within {self._deadline:g} seconds"
        self._settle([waiting], Unavailable(late, retry_after=2))

    def _forget(self, waiting: _Waiting) -> None:
        self._deadlines.remove(waiting)
        waiting.settle = None

    def _settle(self, group: list[_Waiting], error: Exception | None) -> None:
        loop = asyncio.get_running_loop()
        for waiting in group:
            if (settle := waiting.settle) is not None:
                self._forget(waiting)
                loop.call_soon(settle, error)

    def _put_off(
        self, group: list[_Waiting], detail: str, retry_after: int | None = 2, cause: BaseException | None = None
    ) -> None:
        """Fail the requests, each with an error of its own that was never raised here: one that was would hold this group
        and all its records, and they would stay in memory till the next collection. So would its `cause`, as it is."""
        if cause is not None:
            cause.__traceback__ = cause.__context__ = cause.__cause__ = None
        for waiting in group:
            error = Unavailable(detail, retry_after or 1)
            error.__cause__ = cause
            self._settle([waiting], error)

    async def _commit_all(self) -> None:
        while group := self._next_group():
            await self._commit(group)

    def _next_group(self) -> list[_Waiting]:
        """The oldest requests that still wait for an answer, up to RECORDS."""
        group: list[_Waiting] = []
        size = 0
        while self._queue and (not group or size + len(self._queue[0].records) <= RECORDS):
            waiting = self._queue.popleft()
            self._queued -= len(waiting.records)
            if waiting.settle is not None:
                group.append(waiting)
                size += len(waiting.records)
        return group

    async def _commit(self, group: list[_Waiting]) -> None:
        try:
            async with asyncio.timeout(self._deadline):
                failpoint("ingest.append")
                await self._log.append([record for waiting in group for record in waiting.records])
                failpoint("ingest.appended")
        except Unavailable as error:
            self._put_off(group, error.detail, error.retry_after, error.__cause__)
        except TimeoutError:
            self._put_off(group, "the log does not answer", cause=TimeoutError())
        except OSError:
            self._put_off(group, "the log does not answer", cause=OSError())
        except Exception as error:
            if len(group) == 1:
                self._settle(group, error)
            for waiting in group if len(group) > 1 else ():  # only who brought what is refused shall suffer from it
                await self._commit([waiting])
        except BaseException:
            self._put_off(group, "the service is stopping: send the events again", 1)
            raise
        else:
            self._settle(group, None)


def _settle(done: "asyncio.Future[None]", error: Exception | None) -> None:
    if done.done():
        return
    if error is None:
        done.set_result(None)
    else:
        done.set_exception(error)
