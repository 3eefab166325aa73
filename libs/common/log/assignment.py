"""The partitions assigned to this process: a task reads each, from when it becomes its own until it is another's."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from libs.common.db.errors import UNAVAILABLE
from libs.common.log.ownership import HEARTBEAT, Ownership
from libs.common.log.reader import TopicPartition
from libs.common.runtime.cancel import cancel_and_wait

#: A partition is left at the end of the batch begun, or in the midst of it after so many seconds: well before the session
#: that holds the locks has been idle for too long. At the end of the process there is more time.
PATIENCE, LAST_PATIENCE = 1.5, 5.0


class Assignment:
    """`read` is run for each partition and returns once it `is_left`. `lost` is told why all were lost at once; `left` is
    awaited whenever some have been left, before they are given back."""

    def __init__(
        self,
        name: str,
        ownership: Ownership,
        tps: Sequence[TopicPartition],
        read: Callable[[TopicPartition], Coroutine[Any, Any, None]],
        lost: Callable[[Exception], None],
        left: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self._name = name
        self._ownership = ownership
        self._wheres = tps
        self._read = read
        self._lost = lost
        self._left = left
        self._balancer: asyncio.Task[None] | None = None
        self.stopping = asyncio.Event()
        self.tasks: dict[TopicPartition, asyncio.Task[None]] = {}
        #: Those in the midst of a batch.
        self.busy: set[TopicPartition] = set()

    def start(self) -> None:
        self._balancer = asyncio.create_task(self._balance(), name=f"{self._name} balance")

    async def stop(self) -> None:
        """Take no more, and finish the batches begun. The partitions are given back by `close`."""
        self.stopping.set()
        if self._balancer:
            await cancel_and_wait(self._balancer)
        await self._leave(self._wheres, LAST_PATIENCE)

    async def close(self) -> None:
        with contextlib.suppress(*UNAVAILABLE):
            await self._ownership.close()

    def dead(self) -> list[str]:
        """The tasks that ended and never should."""
        tasks = [*self.tasks.values(), *([self._balancer] if self._balancer else [])]
        return [task.get_name() for task in tasks if task.done() and not self.stopping.is_set()]

    def is_left(self, tp: TopicPartition) -> bool:
        """Whether the running task is not to read its partition any more."""
        return self.stopping.is_set() or self.tasks.get(tp) is not asyncio.current_task()

    @contextmanager
    def batch(self, tp: TopicPartition) -> Iterator[None]:
        """Within it the partition's task is not to be cut off without need."""
        self.busy.add(tp)
        try:
            yield
        finally:
            self.busy.discard(tp)

    async def _balance(self) -> None:
        while not self.stopping.is_set():
            try:
                owned = await self._ownership.balance()
                await self._leave([tp for tp in self.tasks if tp not in owned])
                for tp in owned - self.tasks.keys():
                    self.tasks[tp] = asyncio.create_task(self._read(tp), name=f"{self._name} {tp}")
                surplus = self._ownership.surplus
                await self._leave(surplus)
                for tp in surplus:
                    await self._ownership.give_back(tp)
            except Exception as error:  # whatever it is: the session is gone, and the next round opens another
                self._lost(error)
                await self._leave(self._wheres)
            await asyncio.sleep(HEARTBEAT)

    async def _leave(self, tps: Iterable[TopicPartition], patience: float = PATIENCE) -> None:
        """Those in a batch at its end, if that comes within `patience` seconds."""
        leaving = {tp: task for tp in tps if (task := self.tasks.pop(tp, None))}
        for tp, task in leaving.items():
            if tp not in self.busy:
                task.cancel()
        if leaving:
            _, late = await asyncio.wait(leaving.values(), timeout=patience)
            for task in late:
                task.cancel()
            await asyncio.gather(*leaving.values(), return_exceptions=True)
            if self._left:
                await self._left()
