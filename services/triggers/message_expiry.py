"""Messages that ended long ago are forgotten, a few at a time. That there was one of its id is kept: none is sent twice."""

import asyncio
from datetime import timedelta

from libs.common.fold.service import ConsumerService
from libs.common.observability.telemetry import log
from libs.common.runtime.periodic import PeriodicTask
from services.triggers.settings import Settings

logger = log("keeping")

#: Seconds between two batches of a round: deliveries go on meanwhile.
BREATH = 0.1
BATCH = 500
#: Customers are locked too, as by who decides: whoever decides on the same record again finds the row or the id. Nobody is
#: waited for: what is locked at this moment is left for the next round.
_FORGET = """
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
    """A component. Messages that wait to be sent are never forgotten."""

    name = "message keeping"
    every = 3600.0

    def __init__(self, part: ConsumerService, settings: Settings) -> None:
        super().__init__()
        self._part = part
        self._kept = timedelta(days=settings.keep_message_days)

    async def start(self) -> None:
        if self._kept:
            await super().start()

    async def forget(self) -> int:
        """One round; how many messages were forgotten."""
        total, status = 0, f"INSERT 0 {BATCH}"
        while status == f"INSERT 0 {BATCH}":
            async with self._part.tx() as tx:
                status = await tx.execute(_FORGET, self._kept, BATCH)
            total += int(status.split()[-1])
            await asyncio.sleep(BREATH)
        return total

    async def _run_once(self) -> None:
        if forgotten := await self.forget():
            logger.info("messages forgotten", messages=forgotten)
