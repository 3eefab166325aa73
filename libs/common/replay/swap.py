"""Replaces the live state by a rebuilt one while the service runs.

The swap locks the positions, which stops the fold, and the customers' table, which stops commands. Both wait while the
last records are folded; a command that waits too long gets a 503. The locks are on whole tables because those are fair:
transactions in progress end, later ones wait. The tables then change places in the same transaction, so a crash leaves
the live state as it was. Deliveries, idempotency keys, rules and positions are not replaced.
"""

import asyncio
import time
from typing import Any

import asyncpg

from libs.common.errors import Unavailable
from libs.common.replay.replay import Replay
from libs.common.replay.run import catch_up
from libs.common.runtime.failpoints import failpoint

#: Added to rebuilt customers' versions, so that they are higher than any that a process has loaded.
BEYOND = 1_000_000_000
#: The swap waits no longer than this for a lock, because others queue behind it; it tries again a moment later.
LOCK_TIMEOUT = "2s"
TRIES = 30


class _Busy(Exception):
    """The locks could not be taken in time."""


async def swap(replay: Replay[Any, Any]) -> float:
    """Fold to the live position and swap, in one transaction. Returns for how many seconds the service was stopped.

    Raises Unavailable if the locks could not be taken in TRIES tries.
    """
    live, shadow = replay.replayable.service, replay.shadow
    version = await replay.tx.fetchval(f'SELECT coalesce(max(version), 0) FROM "{live}".customers')
    await shadow.lift_versions(replay.tx, version + BEYOND)
    for table in replay.replayable.state:
        await replay.tx.execute(f'ANALYZE "{shadow.schema}"."{table}"')
    for _ in range(TRIES):
        try:
            return await _swap(replay)
        except _Busy:
            await replay.seek()
            while await replay.fold():  # fold what has come meanwhile, so that the next try is short
                pass
            await asyncio.sleep(0.2)
    raise Unavailable(f"{live} is too busy for the swap: its state is unchanged, try again")


async def _swap(replay: Replay[Any, Any]) -> float:
    async with replay.tx.transaction():
        await replay.tx.execute("SET LOCAL synchronous_commit = on")
        await _lock(replay)
        began = time.monotonic()
        await catch_up(replay)
        failpoint("rebuild.folded")
        await replay.shadow.swap(replay.tx, replay.replayable.state)
        failpoint("rebuild.swapped")
    return time.monotonic() - began


async def _lock(replay: Replay[Any, Any]) -> None:
    """Stop the fold, then commands, then readers, until the transaction ends. Uses the common lock order."""
    service = replay.replayable.service
    try:
        await replay.tx.execute(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'")
        await replay.tx.execute(f'LOCK TABLE "{service}".positions IN EXCLUSIVE MODE')
        for table in replay.replayable.state:
            await replay.tx.execute(f'LOCK TABLE "{service}"."{table}" IN ACCESS EXCLUSIVE MODE')
    except (asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError) as error:
        raise _Busy from error
