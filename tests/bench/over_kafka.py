"""Row `kafka`: the same load end to end with Kafka as the log and with PostgreSQL alone."""

from collections.abc import AsyncIterator

from tests.bench.bench import Bench, end_to_end
from tests.bench.installation import Log
from tests.bench.table import Figure
from tests.bench.workload import Workload

#: Java is slow at first.
WARMING = 5


async def over_kafka(bench: Bench) -> AsyncIterator[Figure]:
    """Events/s in batches of 100, with either log."""
    for _ in bench.attempts():
        bare = await _rate(bench, "postgres")
        here = await _rate(bench, "kafka")
        yield Figure("kafka", f"{here:,.0f}/s", f"PostgreSQL {bare:,.0f}/s", f"{here / bare:.2f}", here / bare)


async def _rate(bench: Bench, log: Log) -> float:
    events = bench.size(50_000, 1_000)
    async with bench.whole(log) as installation:
        await end_to_end(installation, Workload(), events // WARMING)
        return await end_to_end(installation, Workload(), events)
