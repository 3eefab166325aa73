"""Row `segments`: all five end to end with 1,000 live segments of which no event changes anything, against 10."""

import asyncio
from collections.abc import AsyncIterator

import httpx

from tests.bench.bench import Bench, end_to_end
from tests.bench.installation import Installation
from tests.bench.table import Figure
from tests.bench.workload import BATCH, Workload

MANY, FEW = 1_000, 10


async def segments(bench: Bench) -> AsyncIterator[Figure]:
    """Events/s in batches of 100, first with few segments, then with many, in one installation."""
    for _ in bench.attempts():
        async with bench.whole() as installation:
            workload, events = Workload(), bench.size(20_000, 2_000) // BATCH * BATCH
            await _publish(installation, 0, FEW)
            await end_to_end(installation, workload, events // 10)
            few = await end_to_end(installation, workload, events)
            await _publish(installation, FEW, MANY)
            await end_to_end(installation, workload, events // 10)
            many = await end_to_end(installation, workload, events)
        yield Figure("segments", f"{many:,.0f}/s", f"with {FEW} {few:,.0f}/s", f"{many / few:.2f}", many / few)


async def _publish(installation: Installation, first: int, end: int) -> None:
    """Put segments in force, and wait until all customers have been evaluated."""
    url = f"{installation.url('profile')}/v1/segments"
    async with httpx.AsyncClient(headers={"authorization": installation.token()}, timeout=60) as client:
        for number in range(first, end):
            segment = {"name": f"segment {number}", "when": f"customer.traits.interest == 'topic {number}'"}
            made = (await client.post(url, json=segment)).raise_for_status().json()
            (await client.post(f"{url}/{made['id']}/publish")).raise_for_status()
        while (await client.get(f"{url}/{made['id']}")).json()["fill"]["finished_at"] is None:
            await asyncio.sleep(0.2)
