"""How long each of many requests may take for one thing, with one timer for all of them."""

import asyncio
from types import TracebackType


class Patience:
    """`with patience:` raises TimeoutError when its block takes longer than `seconds`, as `asyncio.timeout` would.

    That sets a timer for each block, which costs as much as storing an event does. Here all blocks last equally long, so
    they fall due in the order in which they began, and one timer waits for the first. A task may be in one block at a time.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._due: dict[asyncio.Task[object], float] = {}
        self._timer: asyncio.TimerHandle | None = None

    def __enter__(self) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time() + self._seconds
        self._due[_this_task()] = due
        if self._timer is None:
            self._timer = loop.call_at(due, self._expire, loop)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        task = _this_task()
        fallen_due = self._due.pop(task, None) is None
        if fallen_due and task.uncancel() == 0 and kind is asyncio.CancelledError:  # else others cancelled it too
            raise TimeoutError from error

    def _expire(self, loop: asyncio.AbstractEventLoop) -> None:
        now = loop.time()
        self._timer = None
        while self._due:
            task, due = next(iter(self._due.items()))
            if due > now:
                self._timer = loop.call_at(due, self._expire, loop)
                return
            del self._due[task]
            task.cancel()


def _this_task() -> "asyncio.Task[object]":
    task = asyncio.current_task()
    if task is None:
        raise RuntimeError("only a task can be waited for")
    return task
