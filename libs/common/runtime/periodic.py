"""Work that comes round every so often beside a service's main work, and that may be late: a component of its own each."""

import asyncio
from abc import ABC, abstractmethod

import structlog

from libs.common.db.errors import UNAVAILABLE
from libs.common.errors import Unavailable
from libs.common.runtime.cancel import cancel_and_wait
from libs.common.runtime.component import Check

logger = structlog.get_logger()


class PeriodicTask(ABC):
    """A component that does `_run_once` every `every` seconds, from its start on; while the database is away it is put off."""

    name: str
    every: float

    def __init__(self) -> None:
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self._task = asyncio.create_task(self._run_forever(), name=f"rounds of {self.name}")

    async def stop(self) -> None:
        if self._task:
            await cancel_and_wait(self._task)

    async def check(self) -> Check:
        """Always ready: a late round loses nothing."""
        return Check(True)

    def died(self) -> str:
        return f"the rounds of {self.name} have ended" if self._task and self._task.done() else ""

    @abstractmethod
    async def _run_once(self) -> None:
        """One round, with what is to be logged of it."""

    async def _run_forever(self) -> None:
        while True:
            try:
                await self._run_once()
            except (*UNAVAILABLE, Unavailable) as error:
                logger.warning("a round was put off", component=self.name, error=repr(error))
            await asyncio.sleep(self.every)
