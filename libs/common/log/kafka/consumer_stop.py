"""Ending aiokafka's consumers."""

import asyncio
from typing import Any

import structlog

logger = structlog.get_logger()


async def end_consumer(consumer: Any, patience: float = 5.0) -> None:
    """Close it, whatever becomes of its own `stop`: that may wait for a coordinator that is away, and comes out as a
    cancellation, which nobody asked for, when it cancels a fetch that is about to be tried again. Then its connections are
    open still."""
    stopping = asyncio.create_task(consumer.stop(), name="kafka consumer's stop")
    try:
        await asyncio.wait([stopping], timeout=patience)
    finally:
        came_to_its_end = stopping.done() and not stopping.cancelled()
        error = stopping.exception() if came_to_its_end else None
        if error:
            logger.warning("kafka consumer did not stop", error=repr(error))
        if error or not came_to_its_end:
            stopping.cancel()
            await consumer._client.close()
