"""When the platform has come to rest: every reader has read everything, and nothing waits to be sent."""

import asyncio
import time
from typing import Any

import httpx

from libs.common.contracts.registry import SERVICES
from libs.common.db.errors import UNAVAILABLE
from tests.faults.stage import FOLDS, Stage

#: So many seconds after the last fault has ended nothing may be behind.
BOUND = 90.0
_BEHIND = " UNION ALL ".join(
    f"SELECT '{service}' AS service, p.reader, p.topic, p.partition, h.next - p.next AS records"
    f" FROM {service}.positions p JOIN log.heads h USING (topic, partition)"
    " WHERE h.next <> p.next AND (p.topic <> 'ingest.events' OR $1 = 'postgres')"
    " AND (p.reader <> 'forwarder' OR $1 = 'kafka')"
    for service in FOLDS
)
#: Leases of processes that were killed run out after up to twenty seconds (a webhook's; ten an inbox's). Those that nobody
#: can be using any more, as they are older than a webhook may last, are ended at once.
_LEASES = {"webhook": 14, "inbox": 8}  # seconds that are left of one
_NUDGE = f"""
UPDATE triggers.deliveries SET next_at = now() WHERE state = 'queued' AND next_at > now() AND lease IS NOT NULL
  AND next_at < now() + make_interval(secs => CASE channel WHEN 'inbox' THEN {_LEASES["inbox"]} ELSE {_LEASES["webhook"]} END)
"""


class Restless(AssertionError):
    """Something is stuck."""


async def at_rest(stage: Stage, bound: float = BOUND) -> float:
    """Wait until the platform is at rest; how many seconds that took. Raises Restless, saying who is behind or not ready."""
    begun = time.monotonic()
    why = "nobody was asked"
    while time.monotonic() < begun + bound:
        try:
            why = await _unready(stage) or await _behind(stage)
        except (*UNAVAILABLE, httpx.TransportError) as error:
            why = repr(error)
        if not why:
            return time.monotonic() - begun
        await asyncio.sleep(0.05)
    raise Restless(f"not at rest after {bound:.0f} s: {why}")


async def _unready(stage: Stage) -> str:
    """Who says of themselves that they are not ready, or behind."""
    answers = await asyncio.gather(*(stage.get(service, "/readyz") for service in SERVICES))
    for service, answer in zip(SERVICES, answers, strict=True):
        told: dict[str, Any] = answer.json()
        if answer.status_code != 200:
            return f"{service}: {told.get('detail')}"
        if told["lag"]["records"]:
            return f"{service} says that it is behind: {told['readers']}"
    return ""


async def _behind(stage: Stage) -> str:
    """Who is behind by what is stored, seen at one moment; and whether a message waits."""
    connection = await stage.database()
    try:
        rows = await connection.fetch(_BEHIND, stage.log)
        if rows:
            return f"behind: {[tuple(row) for row in rows]}"
        waiting = await connection.fetchval("SELECT count(*) FROM triggers.deliveries WHERE state = 'queued'")
        if waiting:
            await connection.execute(_NUDGE)
            return f"{waiting} messages wait to be sent"
        due = await connection.fetchval("SELECT count(*) FROM profile.timers WHERE due <= now()")
        if due:
            return f"{due} customers wait for a second look at their segments"
    finally:
        await connection.close()
    return ""
