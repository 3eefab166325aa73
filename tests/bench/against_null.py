"""Row `null`: all five end to end, and then the null loop with the bytes that this run has written."""

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
import msgspec

from libs.common.contracts.registry import SERVICES, TOPIC_NAMES
from libs.common.log.tables import relation
from tests.bench.alone import listening
from tests.bench.bench import Bench, end_to_end
from tests.bench.installation import Installation
from tests.bench.null import Flow
from tests.bench.table import Figure
from tests.bench.workload import BATCH, Workload

#: By how much the null loop's bytes may differ from the real run's, and its records beside what rounding does.
TOLERANCE = 0.01
ROUNDED = 10


async def null(bench: Bench) -> AsyncIterator[Figure]:
    """Events/s of the platform, of the null loop, and one through the other."""
    for _ in bench.attempts():
        events = bench.size(50_000, 2_000) // BATCH * BATCH
        warming = events // 10 // BATCH * BATCH
        async with bench.installation() as installation:
            await installation.start()
            await installation.publish_rules()
            here = await _rate(installation, warming, events)
            flow = await flow_of(installation.dsn)
        async with bench.installation() as installation, _processes(installation, flow):
            bare = await _rate(installation, warming, events)
            compare(flow, await flow_of(installation.dsn))
        yield Figure("null", f"{here:,.0f}/s", f"null loop {bare:,.0f}/s", f"{here / bare:.2f}", here / bare)


async def _rate(installation: Installation, warming: int, events: int) -> float:
    workload = Workload()
    await end_to_end(installation, workload, warming)
    return await end_to_end(installation, workload, events)


async def flow_of(dsn: str) -> Flow:
    """What a run has written."""
    connection = await asyncpg.connect(dsn)
    try:
        rows = [
            await connection.fetchrow(f"SELECT count(*), coalesce(avg(octet_length(value)), 0) FROM {relation(topic)}")
            for topic in TOPIC_NAMES
        ]
    finally:
        await connection.close()
    return Flow(
        {topic: int(row[0]) for topic, row in zip(TOPIC_NAMES, rows, strict=True) if row},
        {topic: round(row[1]) for topic, row in zip(TOPIC_NAMES, rows, strict=True) if row},
    )


def compare(real: Flow, null: Flow) -> None:
    """Raises RuntimeError unless both have moved as many records of the same length, but for rounding."""
    for topic in TOPIC_NAMES:
        there, here = real.records[topic], null.records[topic]
        if abs(there - here) > TOLERANCE * there + ROUNDED or (here and real.length[topic] != null.length[topic]):
            raise RuntimeError(
                f"the null loop wrote {here:,} records of {null.length[topic]} bytes to {topic},"
                f" the platform {there:,} of {real.length[topic]}"
            )


@asynccontextmanager
async def _processes(installation: Installation, flow: Flow) -> AsyncIterator[None]:
    running = []
    try:
        for service in SERVICES:
            command = [sys.executable, "-m", "tests.bench.null", service, json.dumps(msgspec.to_builtins(flow))]
            env = installation.environment(service)
            running.append(subprocess.Popen(command, env=env, stdout=subprocess.PIPE))
        for process in running:
            if process.stdout is None or not await asyncio.to_thread(process.stdout.readline):
                raise RuntimeError("a process of the null loop has ended")
        await listening(installation.ports["ingest"])
        yield
    finally:
        for process in running:
            process.terminate()
        for process in running:
            await asyncio.to_thread(process.wait, 30)
