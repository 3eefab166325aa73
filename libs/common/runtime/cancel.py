"""Ending tasks."""

import asyncio
from typing import Any

#: Seconds after which a task that has not ended is told again.
AGAIN = 1.0


async def cancel_and_wait(*tasks: "asyncio.Task[Any]") -> None:
    """Cancel tasks, and again until they have ended: a cancellation may come out of asyncpg as another error, after which a loop
    would go on. What a task raises is not raised here."""
    while going := [task for task in tasks if not task.done()]:
        for task in going:
            task.cancel()
        await asyncio.wait(going, timeout=AGAIN)
