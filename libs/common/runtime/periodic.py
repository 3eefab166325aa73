"""Periodic tasks: background work at an interval that may be late. Each is a component of its own."""

import asyncio
from abc import ABC, abstractmethod

import structlog

from libs.common.db.errors import UNAVAILABLE
from libs.common.errors import Unavailable
from libs.common.runtime.cancel import cancel_and_wait
from libs.common.runtime.component import Check

logger = structlog.get_logger()


class PeriodicTask(ABC):
    """A component that calls `_run_once` at its start and then `every` seconds after each run.

    If the database is unavailable, it tries again after the interval.
    """

    name: str
    every: float

    def __init__(self) -> None:
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self._task = asyncio.create_task(self._run_forever(), name=f"periodic {self.name}")

    async def stop(self) -> None:
        if self._task:
            await cancel_and_wait(self._task)

    async def check(self) -> Check:
        """Always ready, because a late run loses nothing."""
        return Check(True)

    def died(self) -> str:
        """A sentence if the task has ended, which it never should; else empty."""
        return f"the periodic task {self.name} has ended" if self._task and self._task.done() else ""

    @abstractmethod
    async def _run_once(self) -> None:
        """Do the work once, and log it."""

    async def _run_forever(self) -> None:
        while True:
            try:
                await self._run_once()
            except (*UNAVAILABLE, Unavailable) as error:
                logger.warning("periodic task postponed", component=self.name, error=repr(error))
            await asyncio.sleep(self.every)
