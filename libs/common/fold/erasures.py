"""Finishes what the fold has begun with an erased customer: redacts the service's own log, and answers profile."""

from datetime import UTC, datetime

import msgspec
import structlog

from libs.common.contracts.registry import written_by
from libs.common.fold.service import ConsumerService
from libs.common.log import erasures
from libs.common.log.append import append
from libs.common.log.redaction import redact_keys
from libs.common.runtime.failpoints import failpoint
from libs.common.runtime.periodic import PeriodicTask

logger = structlog.get_logger()

_OPEN = 'SELECT id, customers, erased, asked_at FROM "{service}".erasures WHERE answered_at IS NULL ORDER BY id FOR UPDATE SKIP LOCKED'
_ANSWERED = 'UPDATE "{service}".erasures SET answered_at = $2, erased = $3 WHERE id = $1'


class Erasures(PeriodicTask):
    """A component of a service that folds the journal. Each erasure is one transaction: the log is redacted and the answer
    appended, or neither. Nothing of an erased customer is appended any more, so once is enough."""

    name = "erasures"
    every = 2.0

    def __init__(self, consumer: ConsumerService) -> None:
        super().__init__()
        self._consumer = consumer

    async def round(self, now: datetime) -> int:
        """Answer all erasures that the fold has applied; returns how many. Commits a transaction for each."""
        answered = 0
        while await self._answer_one(now):
            answered += 1
        return answered

    async def _answer_one(self, now: datetime) -> bool:
        consumer, service = self._consumer, self._consumer.service
        topic = written_by(service)
        async with consumer.tx() as tx:
            row = await tx.fetchrow(f"{_OPEN.format(service=service)} LIMIT 1")
            if row is None:
                return False
            keys = [str(id) for id in row["customers"]]
            erased: dict[str, int] = msgspec.json.decode(row["erased"])
            erased["log"] = await redact_keys(tx, topic, keys, row["id"], row["asked_at"])
            failpoint("erasures.redacted")
            await tx.execute(_ANSWERED.format(service=service), row["id"], now, msgspec.json.encode(erased))
            answer = erasures.answer(consumer.settings, service, row["id"], erased, now)
            written = await append(tx, topic, [answer], consumer.settings.partitions)
        failpoint("erasures.answered")
        consumer.fold.notifier.notify_later(topic, written)
        logger.info("a customer was erased", erasure=str(row["id"]), **erased)
        return True

    async def _run_once(self) -> None:
        await self.round(datetime.now(UTC))
