"""Rows `visible`, `visible-kafka` and `hot`: how long it takes from a POST to points."""

import asyncio
import uuid
from collections.abc import AsyncIterator

from tests.bench.bench import Bench
from tests.bench.installation import Installation, Log
from tests.bench.load import quantile
from tests.bench.observer import begun, observe, sent_by, start
from tests.bench.paced import Spec
from tests.bench.table import Figure

RATE = 100.0
#: Of the others while one customer has 1,000 events a second, in batches of 100.
RATE_OF_OTHERS, BATCHES = 50.0, 10.0


async def visible(bench: Bench) -> AsyncIterator[Figure]:
    """100 single orders a second, each of a new customer."""
    async for figure in _visible(bench, "visible", "postgres"):
        yield figure


async def visible_over_kafka(bench: Bench) -> AsyncIterator[Figure]:
    """The same with Kafka as the log."""
    async for figure in _visible(bench, "visible-kafka", "kafka"):
        yield figure


async def _visible(bench: Bench, row: str, log: Log) -> AsyncIterator[Figure]:
    for _ in bench.attempts():
        async with bench.whole(log) as installation:
            seen = await observe(installation, RATE, bench.size(2_000, 100))
            yield Figure(row, seen.describe(), "", "", -quantile(seen.committed, 0.99))


async def hot(bench: Bench) -> AsyncIterator[Figure]:
    """Others' p99 while one customer has 1,000 events a second, against theirs before."""
    for _ in bench.attempts():
        async with bench.whole() as installation:
            count = bench.size(1_000, 100)
            quiet = quantile((await observe(installation, RATE_OF_OTHERS, count)).committed, 0.99)
            crowd = await _crowd(installation, count / RATE_OF_OTHERS)
            try:
                loud = quantile((await observe(installation, RATE_OF_OTHERS, count)).committed, 0.99)
                await sent_by(crowd)
            finally:
                if crowd.returncode is None:
                    crowd.kill()
            figures = (f"{loud * 1000:.1f} ms", f"quiet {quiet * 1000:.1f} ms", f"{loud / quiet:.1f}×")
            yield Figure("hot", *figures, -loud / quiet)


async def _crowd(installation: Installation, seconds: float) -> asyncio.subprocess.Process:
    """Who sends one customer's events for somewhat longer than `seconds`, and has begun."""
    name, count = f"hot-{uuid.uuid4().hex[:8]}", int((seconds + 2) * BATCHES)
    spec = Spec(installation.ports["ingest"], installation.basic, "customer", name, BATCHES, count)
    process = await start(spec)
    await begun(process)
    return process
