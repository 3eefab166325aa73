"""The newest events in the log, as a sample of what arrives."""

import asyncio

import msgspec

from libs.common.contracts import records
from libs.common.contracts.events import ClientEvent
from services.ingest.log import Log
from services.ingest.plan.inference import SeenEvents

NEWEST = 500  # events of each partition

_event = msgspec.json.Decoder(ClientEvent).decode


async def sample(log: Log, partitions: int, source: str | None) -> SeenEvents:
    """What one source (or all of them) sent among the newest events. Raises Unavailable."""
    seen = SeenEvents()
    for partition in range(partitions):  # one at a time: they may be 16 MB
        values = await log.newest(partition, NEWEST)
        await asyncio.to_thread(_add, seen, values, None if source is None else f"/apps/{source}")
    return seen


def _add(seen: SeenEvents, values: list[bytes], source: str | None) -> None:
    for value in values:
        record = records.decode(value)
        if source is None or record.source == source:
            seen.add(_event(record.data))
