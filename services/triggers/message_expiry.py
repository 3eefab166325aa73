"""Deletes messages that ended long ago, a few at a time. A tombstone with the id stays, so that none is sent twice."""

import asyncio
from datetime import timedelta

from libs.common.fold.service import ConsumerService
from libs.common.observability.telemetry import log
from libs.common.runtime.periodic import PeriodicTask
from services.triggers.settings import Settings

logger = log("message expiry")

#: Seconds between two batches of a run, in which deliveries go on.
BREATH = 0.1
BATCH = 500
#: Locks the customers, too, as the fold does: a fold of the same record finds either the row or the tombstone. Rows that are
#: locked at this moment are left for the next run.
_EXPIRE = """
WITH old AS (
  SELECT d.customer, d.id FROM triggers.deliveries AS d JOIN triggers.customers AS c ON c.id = d.customer
  WHERE d.state <> 'queued' AND d.settled_at < now() - $1::interval ORDER BY d.settled_at LIMIT $2
  FOR UPDATE SKIP LOCKED
), gone AS (
  DELETE FROM triggers.deliveries AS d USING old WHERE d.customer = old.customer AND d.id = old.id RETURNING d.id
)
INSERT INTO triggers.message_tombstones (id) SELECT id FROM gone ON CONFLICT DO NOTHING
"""


class MessageExpiry(PeriodicTask):
    """A component. It never deletes messages that wait to be sent."""

    name = "message expiry"
    every = 3600.0

    def __init__(self, part: ConsumerService, settings: Settings) -> None:
        super().__init__()
        self._part = part
        self._kept = timedelta(days=settings.keep_message_days)

    async def start(self) -> None:
        if self._kept:
            await super().start()

    async def expire(self) -> int:
        """One run; how many messages were deleted."""
        total, status = 0, f"INSERT 0 {BATCH}"
        while status == f"INSERT 0 {BATCH}":
            async with self._part.tx() as tx:
                status = await tx.execute(_EXPIRE, self._kept, BATCH)
            total += int(status.split()[-1])
            await asyncio.sleep(BREATH)
        return total

    async def _run_once(self) -> None:
        if expired := await self.expire():
            logger.info("expired messages deleted", messages=expired)
