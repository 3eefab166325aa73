"""Ending tasks."""

import asyncio
from typing import Any

#: Seconds after which a task that has not ended is told again.
AGAIN = 1.0


async def ended(task: "asyncio.Task[Any]") -> None:
    """Cancel a task, and again until it has ended: a cancellation may come out of asyncpg as another error, after which the task
    would go on."""
    while not task.done():
        task.cancel()
        await asyncio.wait([task], timeout=AGAIN)
