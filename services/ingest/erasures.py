"""Erasures: redacts the events of erased customers in ingest's log, deletes their rejected events, and answers profile."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

import msgspec

from libs.common.contracts.ingest import EVENTS
from libs.common.contracts.records import decode
from libs.common.log import erasures
from libs.common.log.erasures import MARGIN, OpenErasure
from libs.common.log.keyed_hash import KeyedHash
from libs.common.log.redaction import NO_KEY, redact_at
from libs.common.log.tables import relation
from libs.common.observability.telemetry import log
from libs.common.runtime.failpoints import failpoint
from libs.common.runtime.periodic import PeriodicTask
from libs.common.runtime.postgres import Postgres
from services.ingest.log import Log

logger = log("erasures")

#: Records that are read at once.
PAGE = 2_000
_PAGE = f"""
SELECT "offset", key, value FROM {relation(EVENTS)} WHERE partition = $1 AND "offset" >= $2 ORDER BY "offset" LIMIT {PAGE}
"""
_REJECTED = "SELECT id, body FROM ingest.rejected WHERE received_at <= $1"


class _Ids(msgspec.Struct):
    userId: str | None = None
    anonymousId: str | None = None
    previousId: str | None = None


_ids = msgspec.json.Decoder(_Ids)


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
        async with self._postgres.database.connection() as tx:
            await tx.execute("INSERT INTO ingest.erasures (id) VALUES ($1) ON CONFLICT DO NOTHING", erasure.id)
        for partition in range(self._postgres.settings.partitions):
            await self._redact(partition, erasure, hashes, wanted)
        await self._delete_rejected(erasure, hashes, wanted)
        failpoint("erasures.redacted")
        async with self._postgres.database.connection() as tx:
            (row,) = await tx.fetch("SELECT log, rejected FROM ingest.erasures WHERE id = $1", erasure.id)
        await self._log.append([erasures.answer(self._postgres.settings, "ingest", erasure.id, dict(row), now)])
        failpoint("erasures.answered")
        async with self._postgres.database.connection() as tx:
            await tx.execute("UPDATE ingest.erasures SET answered_at = $2 WHERE id = $1", erasure.id, now)
        logger.info("a customer was erased", erasure=str(erasure.id), **dict(row))

    async def _redact(self, partition: int, erasure: OpenErasure, hashes: KeyedHash, wanted: frozenset[bytes]) -> None:
        """Redact the customer's events in PostgreSQL's log, page by page. Events in Kafka expire there."""
        next, more = 0, True
        while more:
            async with self._postgres.database.transaction() as tx:
                rows = await tx.fetch(_PAGE, partition, next)
                theirs = [
                    row["offset"]
                    for row in rows
                    if row["key"] != NO_KEY and _is_about(row["value"], row["key"], erasure, hashes, wanted)
                ]
                if theirs:
                    await redact_at(tx, EVENTS, partition, theirs, erasure.id, erasure.asked_at)
                    await tx.execute("UPDATE ingest.erasures SET log = log + $2 WHERE id = $1", erasure.id, len(theirs))
            more = len(rows) == PAGE
            next = rows[-1]["offset"] + 1 if rows else next

    async def _delete_rejected(self, erasure: OpenErasure, hashes: KeyedHash, wanted: frozenset[bytes]) -> None:
        async with self._postgres.database.transaction() as tx:
            theirs = [
                row["id"]
                async for row in tx.cursor(_REJECTED, erasure.asked_at)
                if hashes.mentions(row["body"], wanted)
            ]
            await tx.execute("DELETE FROM ingest.rejected WHERE id = ANY($1::uuid[])", theirs)
            await tx.execute(
                "UPDATE ingest.erasures SET rejected = rejected + $2 WHERE id = $1", erasure.id, len(theirs)
            )

    async def _run_once(self) -> None:
        await self.round(datetime.now(UTC))


def _is_about(value: bytes, key: str, erasure: OpenErasure, hashes: KeyedHash, wanted: frozenset[bytes]) -> bool:
    """Whether an event was received before the erasure and is about the customer: by its user, else by its device."""
    try:
        envelope = decode(value)
        if envelope.recordedtime > erasure.asked_at:
            return False
        texts: Sequence[str] = list(_about(_ids.decode(envelope.data)))
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return hashes.of(key) in wanted or hashes.mentions(value, wanted)
    return any(hashes.of(text) in wanted for text in texts)


def _about(ids: _Ids) -> Iterator[str]:
    if ids.userId or ids.anonymousId:
        yield ids.userId or ids.anonymousId or ""
    if ids.previousId:
        yield ids.previousId
