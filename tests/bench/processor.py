"""Rows `cpu`, `idle`: CPU of the services and of PostgreSQL."""

import asyncio
import time
from collections.abc import AsyncIterator

from tests.bench.bench import Bench, end_to_end
from tests.bench.installation import Installation
from tests.bench.observer import begun, sent_by, start
from tests.bench.paced import Spec
from tests.bench.progress import Progress
from tests.bench.table import Figure
from tests.bench.usage import cpu
from tests.bench.workload import Workload

RATE = 100.0
IDLE_SECONDS = 20.0
#: After which a start is over: statistics, ownership, first housekeeping.
SETTLING = 5.0


async def per_event(bench: Bench) -> AsyncIterator[Figure]:
    """CPU per event of all processes: 100 single events a second, and batches of 100 as fast as they go."""
    for _ in bench.attempts():
        async with bench.whole() as installation:
            single = await _of_singles(installation, bench.size(2_000, 100))
            events = bench.size(40_000, 1_000)
            before = cpu(installation)
            await end_to_end(installation, Workload(), events)
            batched = (cpu(installation) - before) / events
            figures = (f"{single * 1e6:,.0f} µs", f"in batches {batched * 1e6:,.0f} µs", f"{single / batched:.1f}×")
            yield Figure("cpu", *figures, -single / batched)


async def _of_singles(installation: Installation, count: int) -> float:
    spec = Spec(installation.ports["ingest"], installation.basic, "singles", "", RATE, count)
    sender = await start(spec)
    try:
        await begun(sender)
        before = cpu(installation)
        await sent_by(sender)
    finally:
        if sender.returncode is None:
            sender.kill()
    installation.sent += count
    async with Progress(installation.dsn) as progress:
        await progress.done(installation.sent)
    return (cpu(installation) - before) / count


async def idle(bench: Bench) -> AsyncIterator[Figure]:
    """CPU while nothing is sent, of the five services and PostgreSQL."""
    for _ in bench.attempts():
        async with bench.whole() as installation:
            await asyncio.sleep(SETTLING)
            before, started = cpu(installation), time.perf_counter()
            await asyncio.sleep(IDLE_SECONDS)
            share = (cpu(installation) - before) / (time.perf_counter() - started)
            yield Figure("idle", f"{share * 100:.1f} %", "", "", -share)
