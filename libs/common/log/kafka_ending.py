"""Ending aiokafka's consumers."""

import asyncio
from typing import Any


async def end_consumer(consumer: Any, patience: float = 5.0) -> None:
    """Close it, whatever becomes of its own `stop`: that may wait for a coordinator that is away, and comes out as a
    cancellation, which nobody asked for, when it cancels a fetch that is about to be tried again. Then its connections are
    open still."""
    stopping = asyncio.create_task(consumer.stop(), name="kafka consumer's stop")
    try:
        await asyncio.wait([stopping], timeout=patience)
    finally:
        if not stopping.done() or stopping.cancelled() or stopping.exception():
            stopping.cancel()
            await consumer._client.close()
