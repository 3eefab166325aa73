"""Ending a task that turns its cancellation into something else."""

import asyncio

from libs.common.runtime.cancel import cancel_and_wait


async def test_a_task_that_swallows_its_cancellation_is_told_again() -> None:
    swallowed = 0

    async def deaf() -> None:
        nonlocal swallowed
        while swallowed < 2:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                swallowed += 1
        await asyncio.Event().wait()

    task = asyncio.create_task(deaf())
    await asyncio.sleep(0)
    async with asyncio.timeout(30):
        await cancel_and_wait(task)
    assert task.cancelled()
    assert swallowed == 2
    await cancel_and_wait(task)  # nothing happens to one that has ended
