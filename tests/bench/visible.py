"""Rows `visible`, `visible-kafka` and `hot`: how long it takes from a POST to points."""

import uuid
from collections.abc import AsyncIterator

from tests.bench.bench import Bench
from tests.bench.installation import Installation, Log
from tests.bench.load import quantile
from tests.bench.observer import begun, observe, sent_by, start
from tests.bench.paced import Spec
from tests.bench.table import Figure
from tests.bench.workload import CUSTOMERS

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
    """Others' p99 while one customer has 1,000 events a second, against theirs before; and what the load alone does, where
    the same events are of many customers."""
    for _ in bench.attempts():
        async with bench.whole() as installation:
            count = bench.size(1_000, 100)
            quiet = quantile((await observe(installation, RATE_OF_OTHERS, count)).committed, 0.99)
            views = await _beside(installation, "views", count)
            spread = await _beside(installation, "customers", count)
            loud = await _beside(installation, "customer", count)
            yield Figure(
                "hot",
                f"{loud * 1000:.1f} ms ({views * 1000:.1f} ms where it orders nothing)",
                f"quiet {quiet * 1000:.1f} ms (the same events of {CUSTOMERS:,} customers: {spread * 1000:.1f} ms)",
                f"{loud / quiet:.1f}× ({views / quiet:.1f}×)",
                -loud,  # not the ratio: that would prefer a run whose quiet part was disturbed
            )


async def _beside(installation: Installation, kind: str, count: int) -> float:
    """Others' p99, in seconds, while a process sends BATCHES batches a second of a `kind`."""
    name, bodies = f"{kind}-{uuid.uuid4().hex[:8]}", int((count / RATE_OF_OTHERS + 2) * BATCHES)
    spec = Spec(installation.ports["ingest"], installation.basic, kind, name, BATCHES, bodies)
    crowd = await start(spec)
    try:
        await begun(crowd)
        loud = quantile((await observe(installation, RATE_OF_OTHERS, count)).committed, 0.99)
        await sent_by(crowd)
    finally:
        if crowd.returncode is None:
            crowd.kill()
    return loud
