"""One timer for many waits: each ends in time, none ends another, and a cancellation stays one."""

import asyncio

import pytest

from services.ingest.timeouts import SharedTimeout


async def test_a_block_that_takes_too_long_ends_and_its_task_goes_on() -> None:
    timeout = SharedTimeout(0.01)

    async def late() -> str:
        with pytest.raises(TimeoutError), timeout:
            await asyncio.Event().wait()
        await asyncio.sleep(0)  # it is cancelled no more
        return "went on"

    assert [*await asyncio.gather(late(), late()), await late()] == ["went on"] * 3


async def test_who_is_done_in_time_is_left_alone() -> None:
    timeout = SharedTimeout(0.02)
    go = asyncio.Event()

    async def quick() -> str:
        with timeout:
            await go.wait()
        await asyncio.sleep(0.05)
        return "done"

    async def slow() -> None:
        with timeout:
            await asyncio.Event().wait()

    async with asyncio.timeout(10):
        tasks = [asyncio.create_task(quick()) for _ in range(3)]
        last = asyncio.create_task(slow())
        await asyncio.sleep(0)
        go.set()
        assert await asyncio.gather(*tasks) == ["done"] * 3
        with pytest.raises(TimeoutError):
            await last


async def test_cancelling_and_other_errors_stay_what_they_are() -> None:
    timeout = SharedTimeout(10)

    async def waits() -> None:
        with timeout:
            await asyncio.Event().wait()

    task = asyncio.create_task(waits())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    with pytest.raises(KeyError), timeout:
        raise KeyError


async def test_cancelled_while_it_falls_due() -> None:
    timeout = SharedTimeout(0.01)

    async def waits() -> None:
        with timeout:
            try:
                await asyncio.Event().wait()
            finally:
                asyncio.current_task().cancel()  # type: ignore[union-attr]

    with pytest.raises(asyncio.CancelledError):
        await asyncio.create_task(waits())
