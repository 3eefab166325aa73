"""Runs coroutines for blocking callers."""

import asyncio
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

Result = TypeVar("Result")


def blocking(work: Coroutine[Any, Any, Result]) -> Result:
    """Run `work` to its end in a thread and loop of its own. Callable from a running loop."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, work).result()
