"""Erasures: redacts the events of erased customers in ingest's log, deletes their rejected events, and answers profile."""

from datetime import UTC, datetime

from libs.common.contracts.ingest import EVENTS
from libs.common.log import erasures
from libs.common.log.erasures import MARGIN, OpenErasure
from libs.common.log.keyed_hash import KeyedHash
from libs.common.log.redaction import redact_at
from libs.common.observability.telemetry import log
from libs.common.runtime.failpoints import failpoint
from libs.common.runtime.periodic import PeriodicTask
from libs.common.runtime.postgres import Postgres
from services.ingest import personal
from services.ingest.log import Log
from services.ingest.personal import IsTheirs

logger = log("erasures")

#: Examples beside counts, and what the live view shows for five minutes: whoever they name, all of that time go.
_EXAMPLES = (
    "UPDATE ingest.warnings SET example = '', message_id = '' WHERE last_at <= $1",
    "UPDATE ingest.violations SET example = '', message_id = '' WHERE last_at <= $1",
    "DELETE FROM ingest.live_events WHERE at <= $1",
)


class Erasures(PeriodicTask):
    """A component. It answers an erasure once everything that was received before it is in the log. If the process dies in the
    middle, the next one looks at everything again, and counts on; profile takes the first answer."""

    name = "erasures"
    every = 5.0

    def __init__(self, postgres: Postgres, storing: Log) -> None:
        super().__init__()
        if postgres.settings.log == "kafka":  # each look makes a consumer of its own
            self.every = 30.0
        self._postgres = postgres
        self._log = storing

    async def round(self, now: datetime) -> int:
        """Answer all erasures that can be; returns how many."""
        done = 0
        for erasure in await self._open():
            if now - erasure.asked_at > MARGIN:
                await self._answer(erasure, now)
                done += 1
        return done

    async def _open(self) -> list[OpenErasure]:
        if self._postgres.settings.log == "kafka":
            found = await erasures.read_published(self._postgres.settings)
        else:
            async with self._postgres.database.connection() as tx:
                found = await erasures.stored(tx)
        if not found:
            return []
        async with self._postgres.database.connection() as tx:
            rows = await tx.fetch(
                "SELECT id FROM ingest.erasures WHERE id = ANY($1::uuid[]) AND answered_at IS NOT NULL",
                [each.id for each in found],
            )
        answered = {row["id"] for row in rows}
        return [each for each in found if each.id not in answered]

    async def _answer(self, erasure: OpenErasure, now: datetime) -> None:
        hashes, wanted = KeyedHash(self._postgres.settings), frozenset(erasure.hashes)

        def is_theirs(text: str) -> bool:
            return hashes.of(text) in wanted

        async with self._postgres.database.connection() as tx:
            await tx.execute("INSERT INTO ingest.erasures (id) VALUES ($1) ON CONFLICT DO NOTHING", erasure.id)
        for partition in range(self._postgres.settings.partitions):
            await self._redact(partition, erasure, is_theirs)
        await self._delete_rejected(erasure, is_theirs)
        failpoint("erasures.redacted")
        async with self._postgres.database.connection() as tx:
            (row,) = await tx.fetch("SELECT log, rejected FROM ingest.erasures WHERE id = $1", erasure.id)
        await self._log.append([erasures.answer(self._postgres.settings, "ingest", erasure.id, dict(row), now)])
        failpoint("erasures.answered")
        async with self._postgres.database.connection() as tx:
            await tx.execute("UPDATE ingest.erasures SET answered_at = $2 WHERE id = $1", erasure.id, now)
        logger.info("a customer was erased", erasure=str(erasure.id), **dict(row))

    async def _redact(self, partition: int, erasure: OpenErasure, is_theirs: IsTheirs) -> None:
        """Redact the customer's events in PostgreSQL's log, page by page. Events in Kafka expire there."""
        next: int | None = 0
        while next is not None:
            async with self._postgres.database.transaction() as tx:
                theirs, next = await personal.page(tx, partition, next, erasure.asked_at, is_theirs)
                if theirs:
                    await redact_at(tx, EVENTS, partition, list(theirs), erasure.id, erasure.asked_at)
                    await tx.execute("UPDATE ingest.erasures SET log = log + $2 WHERE id = $1", erasure.id, len(theirs))

    async def _delete_rejected(self, erasure: OpenErasure, is_theirs: IsTheirs) -> None:
        async with self._postgres.database.transaction() as tx:
            theirs = [each.id async for each in personal.rejected(tx, erasure.asked_at, is_theirs)]
            await tx.execute("DELETE FROM ingest.rejected WHERE id = ANY($1::uuid[])", theirs)
            for statement in _EXAMPLES:
                await tx.execute(statement, erasure.asked_at)
            await tx.execute(
                "UPDATE ingest.erasures SET rejected = rejected + $2 WHERE id = $1", erasure.id, len(theirs)
            )

    async def _run_once(self) -> None:
        await self.round(datetime.now(UTC))
