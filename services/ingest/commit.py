"""Group commit: what requests want to store at the same time is appended together, in one transaction."""

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from libs.common.errors import Unavailable
from libs.common.failpoints import failpoint
from libs.common.log.append import Outgoing
from libs.common.service import Check
from services.ingest.log import Log
from services.ingest.patience import Patience

COMMITTERS = 2  # one may prepare while the other waits for the disk,
MUCH = 200  # once so many events wait; few are cheaper to store in one group than in two
RECORDS = 5_000  # in one append, unless a single request has more


@dataclass(eq=False)
class _Waiting:
    records: Sequence[Outgoing]
    done: "asyncio.Future[None]"


class GroupCommit:
    """`append` returns when the records are durable. Bounded in events (`queue_limit`) and in time (`deadline`, seconds).

    A request that is cancelled or past its deadline takes nothing of the others with it. Nothing runs while nothing waits.
    """

    name = "group commit"

    def __init__(self, log: Log, queue_limit: int, deadline: float) -> None:
        self._log = log
        self._queue_limit = queue_limit
        self._deadline = deadline
        self._patience = Patience(deadline)
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
        """Make the records durable, in their order.

        Raises Unavailable when the log is away, the queue is full or the deadline has passed; then the records may be in
        the log all the same, and a retry is a duplicate with the same record ids. Raises what the log raises when it
        refuses these very records.
        """
        if self._stopping:
            raise Unavailable("the service is stopping: send the events again", retry_after=1)
        if self._queued + len(records) > self._queue_limit and self._queued:
            raise Unavailable("too many events wait to be stored: send these again in a moment", retry_after=2)
        waiting = _Waiting(records, asyncio.get_running_loop().create_future())
        self._queue.append(waiting)
        self._queued += len(records)
        if not self._committers or (len(self._committers) < COMMITTERS and self._queued >= MUCH):
            committer = asyncio.create_task(self._commit_all())
            self._committers.add(committer)
            committer.add_done_callback(self._committers.discard)
        try:
            with self._patience:
                await waiting.done
        except TimeoutError:
            raise Unavailable(f"the log did not answer within {self._deadline:g} seconds", retry_after=2) from None
        finally:
            # its future holds what is raised, and that this frame: the records would stay till the next collection
            del waiting

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
            if not waiting.done.done():
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
            _put_off(group, error.detail, error.retry_after)
        except (TimeoutError, OSError):
            _put_off(group, "the log does not answer")
        except Exception as error:
            if len(group) == 1:
                _fail(group, error)
            for waiting in group if len(group) > 1 else ():  # only who brought what is refused shall suffer from it
                await self._commit([waiting])
        except BaseException:
            _put_off(group, "the service is stopping: send the events again", 1)
            raise
        else:
            for waiting in group:
                if not waiting.done.done():
                    waiting.done.set_result(None)


def _put_off(group: list[_Waiting], detail: str, retry_after: int | None = 2) -> None:
    """Fail the requests, each with an error of its own that was never raised here: one that was would hold this group, whose
    futures hold it, and all their records would stay in memory till the next collection."""
    for waiting in group:
        _fail([waiting], Unavailable(detail, retry_after or 1))


def _fail(group: list[_Waiting], error: Exception) -> None:
    for waiting in group:
        if not waiting.done.done():
            waiting.done.set_exception(error)
