"""Runs work that Ctrl-C, SIGTERM or a closed terminal can end."""

import asyncio
import signal
from collections.abc import Coroutine
from typing import Any

from deploy.local.errors import LocalError


def run_until_signalled(work: Coroutine[Any, Any, int]) -> int:
    """Run `work`; returns its exit code, or 128 + the signal that ended it.

    A signal cancels it, so that its `async with` and `finally` clean up; a second one cancels the cleaning up too, which
    then kills what is left.
    """
    return asyncio.run(_run(work))


async def _run(work: Coroutine[Any, Any, int]) -> int:
    task = asyncio.ensure_future(work)
    received: list[signal.Signals] = []

    def end(number: signal.Signals) -> None:
        received.append(number)
        task.cancel()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:
            loop.add_signal_handler(number, end, number)
    try:
        return await task
    except (asyncio.CancelledError, LocalError):
        if not received:
            raise
        return 128 + received[0]
