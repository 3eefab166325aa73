"""Rows `backlog` and `memory`: a day's events pile up while only ingest runs, and are caught up with while more come."""

import asyncio
import time
from collections.abc import AsyncIterator

from tests.bench.bench import Bench, end_to_end, say
from tests.bench.installation import READERS, Installation
from tests.bench.processor import SETTLING
from tests.bench.progress import Progress
from tests.bench.table import Figure
from tests.bench.usage import memory
from tests.bench.workload import BATCH, Workload

#: What goes on coming in, as a share of the steady rate.
GOING_ON = 0.2
#: So that each has some twenty events a day.
CUSTOMERS = 50_000


def _workload() -> Workload:
    return Workload(lambda number: b"user-%d" % (number % CUSTOMERS))


async def day(bench: Bench) -> AsyncIterator[Figure]:
    """The rate at which 1,000,000 events are caught up with, against the steady one; memory before and after."""
    backlog = bench.size(1_000_000, 5_000)
    for _ in bench.attempts():
        async with bench.whole() as installation:
            await asyncio.sleep(SETTLING)
            first = memory(installation)
            await end_to_end(installation, _workload(), bench.size(CUSTOMERS, 1_000))  # who makes them all
            steady = await end_to_end(installation, _workload(), bench.size(60_000, 1_000))
            await installation.stop(READERS)
            await installation.send(_workload().batches(backlog))
            await installation.start(READERS)
            caught = await _catch_up(installation, GOING_ON * steady)
            yield Figure(
                "backlog", f"{caught:,.0f}/s", f"steady {steady:,.0f}/s", f"{caught / steady:.2f}", caught / steady
            )
            await asyncio.sleep(SETTLING)
            after = memory(installation)
            yield Figure("memory", f"{first:,.0f} / {after:,.0f} MB", "", f"{after / first:.2f}", -after)


async def _catch_up(installation: Installation, rate: float) -> float:
    """Events/s through all services, until nothing of the backlog nor of what came meanwhile is left."""
    async with Progress(installation.dsn) as progress:
        started, folded = time.perf_counter(), await progress.folded()
        backlog = installation.sent
        enough = asyncio.Event()
        async with asyncio.TaskGroup() as coming:
            coming.create_task(_go_on(installation, rate, enough))
            caught = await progress.reach(backlog)
            say(f"  profile has caught up after {caught - started:.1f} s")
            enough.set()
        return (installation.sent - folded) / (await progress.done(installation.sent) - started)


async def _go_on(installation: Installation, rate: float, enough: asyncio.Event) -> None:
    """Send batches of 100 at `rate` events a second until it is enough."""
    workload, begun, number = _workload(), time.perf_counter(), 0
    while not enough.is_set():
        await installation.send(workload.batches(BATCH), connections=1)
        number += BATCH
        await asyncio.sleep(max(0.0, begun + number / rate - time.perf_counter()))
