"""The watchdog: if a partition lags for a minute without advancing or an excuse, the process prints its stacks and
exits."""

import asyncio
import faulthandler
import os
import sys
import time
from collections.abc import Mapping
from typing import Protocol

import structlog

from libs.common.log.reader import Lag, TopicPartition
from libs.common.runtime.cancel import cancel_and_wait

logger = structlog.get_logger()

LONGEST = 60.0
EXIT = 70  # EX_SOFTWARE
STDERR = 2


class Watched(Protocol):
    async def lag(self) -> Mapping[TopicPartition, Lag]: ...

    @property
    def ownership(self) -> "Owner": ...


class Owner(Protocol):
    owned: set[TopicPartition]


class Watchdog:
    """Remembers when each partition last advanced or had an excuse (the database is unavailable, a merge is blocked).

    It looks six times in `longest` seconds. If it cannot look for that long because the event loop is blocked, a thread
    of `faulthandler` ends the process.
    """

    def __init__(self, watched: Watched, longest: float = LONGEST) -> None:
        self._watched = watched
        self._longest = longest
        self._every = longest / 6
        self._moved: dict[TopicPartition, float] = {}
        self._task: asyncio.Task[None] | None = None

    def advanced(self, tp: TopicPartition) -> None:
        self._moved[tp] = time.monotonic()

    excused = advanced

    def start(self) -> None:
        self._task = asyncio.create_task(self._watch(), name="watchdog")

    async def stop(self) -> None:
        if self._task:
            await cancel_and_wait(self._task)
        faulthandler.cancel_dump_traceback_later()

    def stuck(self, lags: Mapping[TopicPartition, Lag], now: float) -> list[TopicPartition]:
        """The owned partitions that lag and have not advanced for over `longest` seconds."""
        stuck = []
        for tp, lag in lags.items():
            if lag.records == 0 or tp not in self._watched.ownership.owned:
                self._moved[tp] = now
            elif now - self._moved.setdefault(tp, now) > self._longest:
                stuck.append(tp)
        return stuck

    async def _watch(self) -> None:
        while True:
            faulthandler.dump_traceback_later(self._longest, exit=True, file=STDERR)
            await asyncio.sleep(self._every)
            try:
                async with asyncio.timeout(self._every):
                    lags = await self._watched.lag()
            except Exception as error:  # something is unavailable, which readiness reports
                logger.warning("cannot read the lag", error=repr(error))
                self._moved.clear()
                continue
            if stuck := self.stuck(lags, time.monotonic()):
                logger.critical("no progress: ending the process", partitions=[str(tp) for tp in stuck])
                faulthandler.dump_traceback(file=sys.stderr)
                for task in asyncio.all_tasks():
                    task.print_stack(file=sys.stderr)
                os._exit(EXIT)
