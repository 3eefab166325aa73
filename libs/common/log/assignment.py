"""The partitions assigned to this process. One task reads each, from when the process gets it until it gives it up."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from libs.common.db.errors import UNAVAILABLE
from libs.common.log.ownership import HEARTBEAT, Ownership
from libs.common.log.reader import TopicPartition
from libs.common.runtime.cancel import cancel_and_wait

#: To give up a partition, its task may finish its batch for so many seconds; then it is cancelled. That is well before
#: the session that holds the locks times out. When the process stops, there is more time.
BATCH_TIMEOUT, LAST_BATCH_TIMEOUT = 1.5, 5.0


class Assignment:
    """Runs `read` as a task for each owned partition; it must return once the partition `is_left`.

    `lost` is called with the error if all partitions are lost at once. `left` is awaited after tasks have ended and
    before their partitions are given back.
    """

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
        self._tps = tps
        self._read = read
        self._lost = lost
        self._left = left
        self._balancer: asyncio.Task[None] | None = None
        self.stopping = asyncio.Event()
        self.tasks: dict[TopicPartition, asyncio.Task[None]] = {}
        #: The partitions whose task is in a batch.
        self.busy: set[TopicPartition] = set()

    def start(self) -> None:
        self._balancer = asyncio.create_task(self._balance(), name=f"{self._name} balance")

    async def stop(self) -> None:
        """Take no more partitions and finish the batches in progress. `close` then gives the partitions back."""
        self.stopping.set()
        if self._balancer:
            await cancel_and_wait(self._balancer)
        await self._leave(self._tps, LAST_BATCH_TIMEOUT)

    async def close(self) -> None:
        with contextlib.suppress(*UNAVAILABLE):
            await self._ownership.close()

    def dead(self) -> list[str]:
        """The names of tasks that have ended, which they should not before `stop`."""
        tasks = [*self.tasks.values(), *([self._balancer] if self._balancer else [])]
        return [task.get_name() for task in tasks if task.done() and not self.stopping.is_set()]

    def is_left(self, tp: TopicPartition) -> bool:
        """Whether the current task must stop reading its partition."""
        return self.stopping.is_set() or self.tasks.get(tp) is not asyncio.current_task()

    @contextmanager
    def batch(self, tp: TopicPartition) -> Iterator[None]:
        """Marks a batch: during the block, the partition's task is cancelled only after a timeout."""
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
            except Exception as error:  # whatever the error, the session is lost; the next balance opens another
                self._lost(error)
                await self._leave(self._tps)
            await asyncio.sleep(HEARTBEAT)

    async def _leave(self, tps: Iterable[TopicPartition], timeout: float = BATCH_TIMEOUT) -> None:
        """End the tasks of partitions: at the end of their batch, or after `timeout` seconds."""
        leaving = {tp: task for tp in tps if (task := self.tasks.pop(tp, None))}
        for tp, task in leaving.items():
            if tp not in self.busy:
                task.cancel()
        if leaving:
            _, late = await asyncio.wait(leaving.values(), timeout=timeout)
            for task in late:
                task.cancel()
            await asyncio.gather(*leaving.values(), return_exceptions=True)
            if self._left:
                await self._left()
