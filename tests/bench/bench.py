"""What each measurement is given: how large, how often, and installations to measure."""

import shutil
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from tests.bench.installation import Installation, Log
from tests.bench.progress import Progress
from tests.bench.table import Figure
from tests.bench.workload import Workload

#: Finds figures, one after the other: those of a first attempt, of a second …
Measurement: TypeAlias = "Callable[[Bench], AsyncIterator[Figure]]"


@dataclass(frozen=True)
class Bench:
    """`scale` is a share of the real sizes, `times` how often everything is measured."""

    scale: float
    times: int

    def size(self, whole: int, least: int) -> int:
        """How many to take of what is `whole` at full scale."""
        return max(least, round(whole * self.scale))

    def attempts(self) -> Iterator[int]:
        for attempt in range(1, self.times + 1):
            if self.times > 1:
                say(f"  attempt {attempt} of {self.times}")
            yield attempt

    @asynccontextmanager
    async def installation(self, log: Log = "postgres") -> AsyncIterator[Installation]:
        """A new one, in a folder that goes with it. No service runs."""
        home = Path(tempfile.mkdtemp(prefix="rapport-bench-"))
        try:
            async with Installation(home, log) as installation:
                yield installation
        finally:
            shutil.rmtree(home, ignore_errors=True)

    @asynccontextmanager
    async def whole(self, log: Log = "postgres") -> AsyncIterator[Installation]:
        """A new one with all five services, a programme and a hook, warm."""
        async with self.installation(log) as installation:
            await installation.start()
            await installation.publish_rules()
            await end_to_end(installation, Workload(), self.size(4_000, 500))
            yield installation


async def end_to_end(installation: Installation, workload: Workload, events: int) -> float:
    """Events/s in batches of 100, from the first POST until all services have read everything."""
    bodies = list(workload.batches(events))
    async with Progress(installation.dsn) as progress:
        before, started = installation.sent, time.perf_counter()
        await installation.send(bodies)
        return (installation.sent - before) / (await progress.done(installation.sent) - started)


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)  # noqa: T201
