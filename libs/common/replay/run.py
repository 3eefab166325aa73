"""Running a replay beside the live service: fold up to where it stands, then look at both in one snapshot."""

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

#: Once so few records are missing, the rest is folded with the live state held in one look.
NEAR = 2_000

#: Called with the records folded and those still missing.
Progress = Callable[[int, int], None]
AnyReplay = Callable[[Replayable[Any, Any], Shadow, Journal, Any], Replay[Any, Any]]


async def connect(settings: Settings, name: str) -> "asyncpg.Connection[Any]":
    """A connection for long work: no statement is too long, none waits long for a lock; plans go by the index, as
    the tables of a shadow have no statistics yet."""
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
    progress: Progress = lambda folded, missing: None,
) -> AsyncIterator[Replay[Any, Any]]:
    """A replay that has come near to where the service stands. `journal` are the settings of profile's database.

    The shadow is dropped at the end, unless the caller has swapped it in. Raises Conflict when one is running already.
    """
    async with AsyncExitStack() as stack:
        connection = await connect(settings, f"{replayable.service}-{name}")
        stack.push_async_callback(connection.close, timeout=5)
        reading = connection
        if journal.dsn != settings.dsn:
            reading = await connect(journal, f"{replayable.service}-{name}-journal")
            stack.push_async_callback(reading.close, timeout=5)
        shadow = Shadow(replayable, name)
        if not await connection.fetchval("SELECT pg_try_advisory_lock($1, hashtext($2))", Lock.REPLAY, shadow.schema):
            raise Conflict(f"a {name} of {replayable.service} is running already")
        stack.push_async_callback(shadow.drop, connection)
        replay = kind(replayable, shadow, Journal(reading, settings.partitions), connection)
        await replay.begin(durable=durable)
        while (missing := await replay.seek()) > NEAR or not replay.records:
            while taken := await replay.fold():
                missing -= taken
                progress(replay.records, missing)
            if not replay.records:
                break
        yield replay


@asynccontextmanager
async def snapshot(replay: Replay[Any, Any]) -> AsyncIterator[None]:
    """The rest is folded, and everything is looked at, in one snapshot: the live service goes on meanwhile."""
    async with replay.tx.transaction(isolation="repeatable_read"):
        await catch_up(replay)
        await replay.tx.execute("SET LOCAL enable_seqscan = on")
        yield


async def catch_up(replay: Replay[Any, Any]) -> None:
    """Fold what the transaction sees, to the end."""
    await replay.seek()
    while await replay.fold():
        pass
    await replay.drain()


async def compared(
    replayable: Replayable[Any, Any],
    settings: Settings,
    journal: Settings,
    progress: Progress = lambda folded, missing: None,
) -> Comparison:
    """Replay a service beside the live one, and compare."""
    async with replaying(replayable, settings, journal, "replay", progress=progress) as replay, snapshot(replay):
        return await compare(
            replay.tx, replayable, replay.shadow.schema, replay.records, replay.facts, replay.differing_facts
        )
