"""Row `processes`: a backlog of events, and one or two processes of profile; nothing else runs."""

import asyncio
import time
from collections.abc import AsyncIterator

import asyncpg

from libs.common.contracts.ingest import EVENTS
from libs.common.log.notifier import channel
from libs.common.log.tables import relation
from tests.bench.bench import Bench
from tests.bench.installation import Installation
from tests.bench.progress import Progress
from tests.bench.table import Figure
from tests.bench.workload import Workload

#: In which two processes have shared the partitions between them.
SHARING = 5.0
_PUT_BY = f"""
CREATE TABLE backlog AS TABLE {relation(EVENTS)};
CREATE TABLE backlog_heads AS SELECT * FROM log.heads WHERE topic = '{EVENTS}';
TRUNCATE {relation(EVENTS)};
UPDATE log.heads SET next = 0 WHERE topic = '{EVENTS}';
"""
_RELEASE = f"""
INSERT INTO {relation(EVENTS)} TABLE backlog;
UPDATE log.heads SET next = kept.next FROM backlog_heads AS kept
WHERE heads.topic = kept.topic AND heads.partition = kept.partition;
"""


async def processes(bench: Bench) -> AsyncIterator[Figure]:
    """Events/s of two processes of profile, against one's."""
    for _ in bench.attempts():
        async with bench.installation() as installation:
            await installation.start(["ingest"])
            await installation.send(Workload().batches(bench.size(100_000, 2_000)))
            events = installation.sent
            await installation.stop(["ingest"])
            await _execute(installation.dsn, _PUT_BY)
            one = await _rate(installation, 1, events)
            two = await _rate(installation, 2, events)
            yield Figure("processes", f"{two:,.0f}/s", f"one {one:,.0f}/s", f"{two / one:.2f}×", two / one)


async def _rate(installation: Installation, number: int, events: int) -> float:
    """Events/s from the moment at which the backlog is there until it has been read."""
    await installation.use(f"processes_{number}", template="rapport")
    await installation.start(["profile"])
    if number == 2:
        await installation.start(["profile"], second=True)
    await asyncio.sleep(SHARING)
    async with Progress(installation.dsn) as progress:
        await _execute(installation.dsn, _RELEASE)
        started = time.perf_counter()
        await _execute(installation.dsn, f"SELECT pg_notify('{channel(EVENTS)}', '')")
        seconds = await progress.reach(events) - started
    await installation.stop(list(installation.services))
    return events / seconds


async def _execute(dsn: str, statements: str) -> None:
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(statements, timeout=600)  # all of them in one transaction
    finally:
        await connection.close()
