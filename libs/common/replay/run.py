"""Runs a replay beside the live service: folds up to the service's position, then compares both in one snapshot."""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import asyncpg

from libs.common.db.locks import Lock
from libs.common.db.pool import PLANNING
from libs.common.errors import Conflict
from libs.common.replay.compare import Comparison, compare
from libs.common.replay.journal import Journal
from libs.common.replay.replay import Replay
from libs.common.replay.replayable import Replayable
from libs.common.replay.shadow import Shadow
from libs.common.settings import Settings

#: Once so few records remain, the caller takes over, with the live state fixed by a snapshot or locks.
NEAR = 2_000

#: Called with the number of records folded and the number that remain.
Progress = Callable[[int, int], None]
AnyReplay = Callable[[Replayable[Any, Any], Shadow, Journal, Any], Replay[Any, Any]]


async def connect(settings: Settings, name: str) -> "asyncpg.Connection[Any]":
    """A connection for long work: without a statement timeout, with a short lock timeout.

    Plans use indexes, because the shadow's tables have no statistics yet.
    """
    return await asyncpg.connect(
        settings.dsn,
        ssl=settings.database_ssl(),
        timeout=10,
        server_settings={
            "application_name": f"rapport-{name}",
            "synchronous_commit": "off",
            "lock_timeout": "3s",
            "work_mem": "64MB",
            "enable_seqscan": "off",
            **PLANNING,
        },
    )


@asynccontextmanager
async def replaying(
    replayable: Replayable[Any, Any],
    settings: Settings,
    journal: Settings,
    name: str,
    *,
    durable: bool = False,
    kind: AnyReplay = Replay,
    progress: Progress = lambda folded, remaining: None,
) -> AsyncIterator[Replay[Any, Any]]:
    """A replay that is within NEAR records of the service's position. `journal` are the settings of profile's database.

    The shadow is dropped at the end, unless the caller has swapped it in. Raises Conflict if another replay of this
    name and service is running.
    """
    async with AsyncExitStack() as stack:
        connection = await connect(settings, f"{replayable.service}-{name}")
        stack.push_async_callback(connection.close, timeout=5)
        journal_connection = connection
        if journal.dsn != settings.dsn:
            journal_connection = await connect(journal, f"{replayable.service}-{name}-journal")
            stack.push_async_callback(journal_connection.close, timeout=5)
        shadow = Shadow(replayable, name)
        if not await connection.fetchval("SELECT pg_try_advisory_lock($1, hashtext($2))", Lock.REPLAY, shadow.schema):
            raise Conflict(f"a {name} of {replayable.service} is already running")
        stack.push_async_callback(shadow.drop, connection)
        replay = kind(replayable, shadow, Journal(journal_connection, settings.partitions), connection)
        await replay.begin(durable=durable)
        while (remaining := await replay.seek()) > NEAR or not replay.records:
            while folded := await replay.fold():
                remaining -= folded
                progress(replay.records, remaining)
            if not replay.records:
                break
        yield replay


@asynccontextmanager
async def snapshot(replay: Replay[Any, Any]) -> AsyncIterator[None]:
    """Fold the rest and run the block in one read snapshot. The live service continues meanwhile."""
    async with replay.tx.transaction(isolation="repeatable_read"):
        await catch_up(replay)
        await replay.tx.execute("SET LOCAL enable_seqscan = on")
        yield


async def catch_up(replay: Replay[Any, Any]) -> None:
    """Fold all that the transaction sees, and put back what comes after the last record."""
    await replay.seek()
    while await replay.fold():
        pass
    await replay.drain()


async def compared(
    replayable: Replayable[Any, Any],
    settings: Settings,
    journal: Settings,
    progress: Progress = lambda folded, remaining: None,
) -> Comparison:
    """Replay a service beside the live one and compare both."""
    async with replaying(replayable, settings, journal, "replay", progress=progress) as replay, snapshot(replay):
        return await compare(
            replay.tx, replayable, replay.shadow.schema, replay.records, replay.facts, replay.differing_facts
        )
