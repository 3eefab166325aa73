"""Row `history`: orders of a customer who has 10,000 of them, against orders of a customer who has ten."""

import time
from collections.abc import AsyncIterator, Iterator

from tests.bench.bench import Bench
from tests.bench.installation import Installation
from tests.bench.load import drive, request
from tests.bench.progress import Progress
from tests.bench.table import Figure
from tests.bench.workload import BATCH, Workload

#: Orders that the two customers have before.
LONG, SHORT = 10_000, 10
CONNECTIONS = 4


async def history(bench: Bench) -> AsyncIterator[Figure]:
    """Events/s of single orders of one customer until all services have folded them; both customers in one run."""
    long, short = bench.size(LONG, 200), SHORT
    for _ in bench.attempts():
        async with bench.whole() as installation:
            await _have(installation, b"long", long)
            await _have(installation, b"short", short)
            count = bench.size(1_000, 20)
            rates = []
            for who, first in ((b"long", long), (b"short", short)):
                await _orders(installation, who, first, count // 10)
                rates.append(await _orders(installation, who, first + count // 10, count))
            here, bare = rates
            yield Figure("history", f"{here:,.0f}/s", f"with {SHORT} {bare:,.0f}/s", f"{here / bare:.2f}", here / bare)


async def _have(installation: Installation, who: bytes, orders: int) -> None:
    def batches() -> Iterator[bytes]:
        bodies = list(_of(who, 0).orders(orders))
        for first in range(0, orders, BATCH):
            yield b'{"batch": [%b]}' % b", ".join(bodies[first : first + BATCH])

    async with Progress(installation.dsn) as progress:
        await installation.send(batches())
        await progress.done(installation.sent)


async def _orders(installation: Installation, who: bytes, first: int, count: int) -> float:
    requests = (request("/v1/track", body, installation.basic) for body in _of(who, first).orders(count))
    async with Progress(installation.dsn) as progress:
        started = time.perf_counter()
        await drive(installation.ports["ingest"], requests, CONNECTIONS)
        installation.sent += count
        return count / (await progress.done(installation.sent) - started)


def _of(who: bytes, first: int) -> Workload:
    return Workload(lambda _: b"customer-" + who, first)
