"""Finishes erasures: once every other service has answered, profile redacts the journal and signs the certificate.

The journal comes last, because a reader that is behind needs the records of a merge: an answer says that the reader has
passed all records of the customer.
"""

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import msgspec
import structlog

from libs.common.contracts.ingest import EVENTS
from libs.common.contracts.profile import ERASURES, JOURNAL, CustomerErased
from libs.common.db.pool import Tx
from libs.common.fold.service import ConsumerService
from libs.common.fold.watermark import watermarks
from libs.common.log import erasures
from libs.common.log.erasures import OpenErasure, kafka_until
from libs.common.log.keyed_hash import KeyedHash, installation_key, mentions
from libs.common.log.redaction import redact_keys
from libs.common.runtime.component import Check
from libs.common.runtime.failpoints import failpoint
from libs.common.runtime.periodic import PeriodicTask
from services.profile.erasure import answers, certificate, queries

if TYPE_CHECKING:
    from libs.common.log.kafka.compacted_topic import CompactedTopicWriter

logger = structlog.get_logger()

#: After this time an erasure that is not done is a concern of operators.
LONG = timedelta(hours=1)
_LETTERS = "SELECT id, key, value FROM profile.dead_letters WHERE topic = $1"


class ErasureTask(PeriodicTask):
    """A component of profile. Each erasure is finished in one transaction: redacted and signed, or neither."""

    name = "erasures"
    every = 2.0

    def __init__(self, consumer: ConsumerService) -> None:
        super().__init__()
        self._consumer = consumer
        self._writer: CompactedTopicWriter | None = None
        self._published: bool | None = None  # whether the newest message in Kafka names any
        self._waiting: list[str] = []

    async def start(self) -> None:
        if self._consumer.settings.log == "kafka":
            from libs.common.log.kafka.compacted_topic import CompactedTopicWriter

            self._writer = CompactedTopicWriter(self._consumer.settings, ERASURES)
        await super().start()

    async def stop(self) -> None:
        await super().stop()
        if self._writer:
            await self._writer.stop()

    async def check(self) -> Check:
        """Always ready. A concern names the erasures that have waited for a service for over an hour."""
        return Check(True, concerns=tuple(self._waiting))

    async def round(self, now: datetime) -> int:
        """Finish all erasures that can be; returns how many. Commits a transaction for each.

        Profile's part can be done once the watermark has passed the erasure: then no event that was received before it is
        still to come, and to become a dead letter.
        """
        async with self._consumer.read() as tx:
            ids = await queries.open_ids(tx)
            open = await erasures.stored(tx, ids) if ids else []
            marks = await watermarks(tx)
        if self._writer and (open or self._published is not False):
            await self._writer.write(erasures.published(open))
            self._published = bool(open)
        read_until = min((mark.until for mark in marks), default=datetime.min.replace(tzinfo=UTC))
        done, waiting = 0, []
        for each in open:
            if each.asked_at < read_until and await self._finish(each, now):
                done += 1
            elif now - each.asked_at > LONG:
                waiting.append(
                    f"erasure {each.id} has waited since {each.asked_at}: GET /v1/erasures/{each.id} names the service"
                )
        self._waiting = waiting
        return done

    async def _finish(self, erasure: OpenErasure, now: datetime) -> bool:
        settings = self._consumer.settings
        hashes, key = KeyedHash(settings), installation_key(settings)
        async with self._consumer.tx() as tx:
            row = await tx.fetchrow(
                "SELECT customer, also, erased FROM profile.erasures WHERE id = $1 AND done_at IS NULL FOR UPDATE SKIP LOCKED",
                erasure.id,
            )
            if row is None or (await queries.erasure(tx, erasure.id))["missing"] != ["profile"]:
                return False
            keys = [str(id) for id in (row["customer"], *row["also"])]
            erased: dict[str, int] = msgspec.json.decode(row["erased"])
            erased["dead_letters"] = await self._dead_letters(tx, keys, erasure, hashes)
            erased["log"] = await redact_keys(tx, JOURNAL, keys, erasure.id, erasure.asked_at, but=CustomerErased.TYPE)
            failpoint("erasure.redacted")
            await answers.store(tx, erasure.id, "profile", erased, now, kafka_until(settings, now))
            shown = await queries.erasure(tx, erasure.id)
            await tx.execute(
                "UPDATE profile.erasures SET done_at = $2, certificate = $3 WHERE id = $1",
                erasure.id,
                now,
                certificate.signed(key, certified(shown), now),
            )
            await erasures.close(tx, erasure.id)
        logger.info("an erasure is done", erasure=str(erasure.id), **erased)
        return True

    async def _dead_letters(self, tx: Tx, keys: list[str], erasure: OpenErasure, hashes: KeyedHash) -> int:
        """Delete dead letters about the customer: facts by their key, events by the identifiers in them."""
        found = [row["id"] for row in await tx.fetch("SELECT id FROM profile.dead_letters WHERE key = ANY($1)", keys)]
        wanted = set(erasure.hashes)

        def is_theirs(text: str) -> bool:
            return hashes.of(text) in wanted

        async for row in tx.cursor(_LETTERS, EVENTS):
            if is_theirs(row["key"]) or mentions(row["value"], is_theirs):
                found.append(row["id"])
        await tx.execute("DELETE FROM profile.dead_letters WHERE id = ANY($1::uuid[])", found)
        return len(set(found))

    async def _run_once(self) -> None:
        await self.round(datetime.now(UTC))


def certified(shown: dict[str, Any]) -> dict[str, Any]:
    """What a certificate states of an erasure, as plain JSON."""
    until = [each["kafka_until"] for each in shown["services"].values() if each["kafka_until"] is not None]
    stated = {
        "id": shown["id"],
        "customer": shown["customer"],
        "asked_at": shown["asked_at"],
        "services": shown["services"],
        "kafka_until": max(until, default=None),
    }
    plain: dict[str, Any] = msgspec.to_builtins(stated, str_keys=True)
    return plain
