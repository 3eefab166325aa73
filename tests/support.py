"""What several tests share: waiting for something that must become true, tokens, journal records."""

import asyncio
import os
import signal
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import psutil  # type: ignore[import-untyped]

from libs.common.contracts.records import Snapshot, encode, spliced
from libs.common.db.pool import Tx
from libs.common.errors import Unavailable
from libs.common.log.append import Outgoing

T = TypeVar("T")


async def eventually(ask: Callable[[], Awaitable[T]], within: float = 60.0) -> T:
    """The first truthy answer of `ask`, asked again until `within` seconds have passed; then AssertionError.

    Unavailable says to ask later, and is done so. The bound only ends a test that has failed: it is far beyond what an
    overloaded machine needs.
    """
    deadline = time.monotonic() + within
    while True:
        answer: T | Unavailable
        try:
            answer = await ask()
        except Unavailable as error:
            answer = error
        if answer and not isinstance(answer, Unavailable):
            return answer
        if time.monotonic() >= deadline:
            cause = answer if isinstance(answer, Unavailable) else None
            raise AssertionError(f"still {answer!r} after {within} s") from cause
        await asyncio.sleep(0.02)


async def freeze(pid: int) -> None:
    """SIGSTOP, and wait until all threads of the process have stopped (on Linux; elsewhere, until the process has)."""
    os.kill(pid, signal.SIGSTOP)

    async def stopped() -> bool:
        return _is_stopped(pid)

    await eventually(stopped)


def _is_stopped(pid: int) -> bool:
    threads = [each.read_text().rpartition(") ")[2] for each in Path(f"/proc/{pid}/task").glob("*/stat")]
    if not threads:
        return bool(psutil.Process(pid).status() == psutil.STATUS_STOPPED)
    return all(each.startswith("T") for each in threads)


async def keep_open(tx: Tx) -> None:
    """Let this transaction stand open for as long as a test wants; PostgreSQL would end it after a few seconds."""
    await tx.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
    await tx.execute("SET LOCAL transaction_timeout = 0")


def journal_record(
    customer: str,
    data: dict[str, Any],
    *,
    id: str,
    type: str = "track.v1",
    source: str = "/apps/test",
    time: datetime | None = None,
    snapshot: Snapshot | None = None,
    depth: int = 0,
) -> Outgoing:
    """A record as profile writes it into its journal."""
    when = time or datetime(2026, 1, 1, 12, tzinfo=UTC)
    raw = encode(id=id, source=source, type=type, time=when, recordedtime=when, data=data, depth=depth)
    return Outgoing(customer, spliced(raw, msgspec.json.encode(snapshot or Snapshot(id=customer))), when)
