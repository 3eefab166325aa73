"""Cancels tasks."""

import asyncio
from typing import Any

#: Seconds after which a task that still runs is cancelled again.
CANCEL_AGAIN = 1.0


async def cancel_and_wait(*tasks: "asyncio.Task[Any]") -> None:
    """Cancel tasks repeatedly until they have ended. Does not raise what they raise.

    Once is not enough: asyncpg may turn a cancellation into another error, after which a loop would continue.
    """
    while running := [task for task in tasks if not task.done()]:
        for task in running:
            task.cancel()
        await asyncio.wait(running, timeout=CANCEL_AGAIN)
