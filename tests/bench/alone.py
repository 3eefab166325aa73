"""Rows `singles` and `batches`: ingest as one process, on a database that nobody reads."""

import asyncio
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Sequence

import asyncpg

from deploy.local.ports import free_base
from tests.bench.bench import Bench
from tests.bench.installation import Installation
from tests.bench.load import HOST, drive, request
from tests.bench.table import Figure
from tests.bench.workload import Workload

CONNECTIONS = 64


async def singles(bench: Bench) -> AsyncIterator[Figure]:
    """Durable single events at 64 connections against the raw ASGI echo of the same bodies."""
    for _ in bench.attempts():
        async with bench.installation() as installation:
            await installation.start(["ingest"])
            workload, count = Workload(), bench.size(30_000, 500)
            await _post(installation, list(workload.singles(count // 10)))
            bodies = list(workload.singles(count))
            bare = await _echoed(bodies)
            here = await _post(installation, bodies)
            yield Figure("singles", f"{here:,.0f}/s", f"echo {bare:,.0f}/s", f"{here / bare:.2f}", here / bare)


async def batches(bench: Bench) -> AsyncIterator[Figure]:
    """Batches of 100, one process, against COPY of the same bytes from one connection."""
    for _ in bench.attempts():
        async with bench.installation() as installation:
            await installation.start(["ingest"])
            workload, events = Workload(), bench.size(100_000, 2_000)
            await installation.send(workload.batches(events // 10))
            bodies = list(workload.batches(events))
            here = await installation.send(bodies)
            bare = await _copied(installation.dsn)
            yield Figure("batches", f"{here:,.0f}/s", f"COPY {bare:,.0f}/s", f"{here / bare:.2f}", here / bare)


async def _post(installation: Installation, bodies: Sequence[bytes]) -> float:
    requests = (request("/v1/track", body, installation.basic) for body in bodies)
    return (await drive(installation.ports["ingest"], requests, CONNECTIONS)).rate


async def _echoed(bodies: Sequence[bytes]) -> float:
    port = free_base()
    echo = subprocess.Popen([sys.executable, "-m", "tests.bench.echo", str(port)])
    try:
        await listening(port)
        return (await drive(port, (request("/v1/track", body) for body in bodies), CONNECTIONS)).rate
    finally:
        echo.terminate()
        echo.wait()


async def _copied(dsn: str) -> float:
    """Events/s of a COPY of the records that ingest has just written, 500 at a time, each as durable as ingest's, into a table
    without an index."""
    connection = await asyncpg.connect(dsn)
    try:
        records = await connection.fetch('SELECT value FROM log."ingest.events"')
        await connection.execute("CREATE TABLE bare (value bytea)")
        rows = [(record[0],) for record in records]
        started = time.perf_counter()
        for at in range(0, len(rows), 500):
            await connection.copy_records_to_table("bare", records=rows[at : at + 500])
        return len(rows) / (time.perf_counter() - started)
    finally:
        await connection.close()


async def listening(port: int, within: float = 20.0) -> None:
    """Wait until somebody listens on the port. Raises TimeoutError."""
    async with asyncio.timeout(within):
        while True:
            try:
                _, writer = await asyncio.open_connection(HOST, port)
            except OSError:
                await asyncio.sleep(0.05)
            else:
                writer.close()
                return
