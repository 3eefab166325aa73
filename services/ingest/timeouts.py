"""Timeouts that many requests share: one timer instead of one each."""

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import Generic, TypeVar

T = TypeVar("T")


class Deadlines(Generic[T]):
    """Calls `expire(item)` when an item is still there `seconds` after it was added.

    A timer for each item costs as much as storing an event does. Here all have the same time, so they fall due in the order
    in which they came, and one timer waits for the first.
    """

    def __init__(self, seconds: float, expire: Callable[[T], object]) -> None:
        self._seconds = seconds
        self._expire = expire
        self._due: dict[T, float] = {}
        self._timer: asyncio.TimerHandle | None = None

    def add(self, item: T) -> None:
        """An item may be there once at a time."""
        loop = asyncio.get_running_loop()
        self._due[item] = due = loop.time() + self._seconds
        if self._timer is None:
            self._timer = loop.call_at(due, self._look, loop)

    def remove(self, item: T) -> bool:
        """Whether it was still there."""
        return self._due.pop(item, None) is not None

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        now = loop.time()
        self._timer = None
        while self._due:
            item, due = next(iter(self._due.items()))
            if due > now:
                self._timer = loop.call_at(due, self._look, loop)
                return
            del self._due[item]
            self._expire(item)


class SharedTimeout:
    """`with patience:` raises TimeoutError when its block takes longer than `seconds`, as `asyncio.timeout` would. A task may
    be in one block at a time."""

    def __init__(self, seconds: float) -> None:
        self._deadlines: Deadlines[asyncio.Task[object]] = Deadlines(seconds, lambda task: task.cancel())

    def __enter__(self) -> None:
        self._deadlines.add(_this_task())

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        task = _this_task()
        fallen_due = not self._deadlines.remove(task)
        if fallen_due and task.uncancel() == 0 and kind is asyncio.CancelledError:  # else others cancelled it too
            raise TimeoutError from error


def _this_task() -> "asyncio.Task[object]":
    task = asyncio.current_task()
    if task is None:
        raise RuntimeError("only a task can be waited for")
    return task
