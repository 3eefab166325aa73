"""Putting a rebuilt state in the place of the live one, while the service goes on running.

The fold is held by locking its positions, commands by locking the customers' table: both wait (a command that waits for
long is answered with 503) while the last records are folded. Whole tables are locked, as waiting for those is fair: who
has begun comes to an end, who comes later waits. Then the tables change places, in one transaction: whoever
dies on the way leaves the live state as it was. Deliveries, idempotency keys, rules and positions are not replaced.
"""

import asyncio
import time
from typing import Any

import asyncpg

from libs.common.errors import Unavailable
from libs.common.replay.replay import Replay
from libs.common.replay.run import catch_up
from libs.common.runtime.failpoints import failpoint

#: A rebuilt customer's version is beyond any that a process may remember.
BEYOND = 1_000_000_000
#: Nobody waits longer for the swap: it is tried again a moment later.
PATIENCE = "2s"
TRIES = 30


class _Busy(Exception):
    """The service could not be held."""


async def swap(replay: Replay[Any, Any]) -> float:
    """Fold to the live position, and swap; for how many seconds the service was held. Raises Unavailable when it could not
    be."""
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
            while await replay.fold():  # what has come meanwhile need not be waited for then
                pass
            await asyncio.sleep(0.2)
    raise Unavailable(f"{live} was too busy to be held for a moment: its state is as it was, try again")


async def _swap(replay: Replay[Any, Any]) -> float:
    async with replay.tx.transaction():
        await replay.tx.execute("SET LOCAL synchronous_commit = on")
        await _hold(replay)
        began = time.monotonic()
        await catch_up(replay)
        failpoint("rebuild.folded")
        await replay.shadow.swap(replay.tx, replay.replayable.state)
        failpoint("rebuild.swapped")
    return time.monotonic() - began


async def _hold(replay: Replay[Any, Any]) -> None:
    """Stop the fold, then commands, then readers, until the transaction ends. Customers come first, as with everybody."""
    service = replay.replayable.service
    try:
        await replay.tx.execute(f"SET LOCAL lock_timeout = '{PATIENCE}'")
        await replay.tx.execute(f'LOCK TABLE "{service}".positions IN EXCLUSIVE MODE')
        for table in replay.replayable.state:
            await replay.tx.execute(f'LOCK TABLE "{service}"."{table}" IN ACCESS EXCLUSIVE MODE')
    except (asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError) as error:
        raise _Busy from error
