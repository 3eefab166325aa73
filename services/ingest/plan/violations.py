"""Violations of the tracking plan, counted by source, day, event and rule, with the last example of each."""

import asyncio
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import NamedTuple
from uuid import UUID

import asyncpg

from libs.common.contracts import ids
from libs.common.db import bulk
from libs.common.db.pool import Tx
from libs.common.runtime.periodic import PeriodicTask
from libs.common.runtime.postgres import Postgres
from services.ingest import models, queries
from services.ingest.plan.compiled import Violation
from services.ingest.store import storable

FLUSH = 1.0  # seconds between writes
KINDS = 500  # events and rules of a source and day in one process; the rest is counted together
OTHERS = "other violations"


class _Slot(NamedTuple):
    source: UUID
    day: date
    event: str
    rule: str


@dataclass(slots=True)
class _Count:
    events: int
    last_at: datetime
    last: Violation


class ViolationCounts(PeriodicTask):
    """Counts without waiting, and writes in the background. What is not written yet is lost with the process."""

    name = "violations"
    every = FLUSH

    def __init__(self, postgres: Postgres) -> None:
        super().__init__()
        self._postgres = postgres
        self._counts: dict[_Slot, _Count] = {}
        self._known: dict[tuple[UUID, date], set[tuple[str, str]]] = {}

    async def stop(self) -> None:
        """Write what waits, if PostgreSQL lets us."""
        await super().stop()
        async with asyncio.timeout(3):
            await self._run_once()

    def add(self, source: UUID, received_at: datetime, violations: list[Violation]) -> None:
        """Count the violations of a request's events."""
        day = received_at.astimezone(UTC).date()
        for violation in violations:
            slot = _Slot(source, day, *self._place(source, day, violation))
            if (count := self._counts.get(slot)) is None:
                self._counts[slot] = _Count(1, received_at, violation)
                continue
            count.events += 1
            if received_at >= count.last_at:
                count.last_at, count.last = received_at, violation

    def _place(self, source: UUID, day: date, violation: Violation) -> tuple[str, str]:
        known = self._known.get((source, day))
        if known is None:
            self._known = {at: places for at, places in self._known.items() if at[1] == day}
            known = self._known[source, day] = set()
        place = violation.event, violation.rule
        if place not in known and len(known) >= KINDS:
            return "", OTHERS
        known.add(place)
        return place

    async def _run_once(self) -> None:
        if not self._counts:
            return
        counts, self._counts = self._counts, {}
        rows = [_row(slot, count) for slot, count in counts.items()]
        try:
            async with self._postgres.database.transaction() as tx:
                await _add(tx, sorted(rows))
        except BaseException:
            for slot, count in counts.items():
                if (newer := self._counts.setdefault(slot, count)) is not count:
                    newer.events += count.events
            raise


class _Counted(NamedTuple):
    """The columns of the table, in its order."""

    source_id: UUID
    day: date
    event: str
    rule: str
    id: UUID
    events: int
    last_at: datetime
    mode: str
    example: str
    message_id: str


def _row(slot: _Slot, count: _Count) -> _Counted:
    event, rule, example, message_id = (
        storable(text) for text in (slot.event, slot.rule, count.last.example, count.last.message_id)
    )
    return _Counted(
        slot.source,
        slot.day,
        event,
        rule,
        ids.fresh(),
        count.events,
        count.last_at,
        count.last.mode,
        example,
        message_id,
    )


async def _add(tx: Tx, rows: list[_Counted]) -> None:
    """Add to the counts; the newest example stays. `rows` are in the order of the key."""
    latest = ("mode", "example", "message_id")
    statement = bulk.add_latest(models.violations, _Counted._fields, ("events",), "last_at", latest)
    await tx.execute(statement, *bulk.transposed(rows))


async def page(tx: Tx, source: str | None, event: str | None, before: UUID, limit: int) -> list[asyncpg.Record]:
    """Violations of one source and event (or of all), the latest first, those before the id `before`. Raises NotFound."""
    return await tx.fetch(
        "SELECT v.id, s.name AS source, v.day, v.event, v.rule, v.mode, v.events, v.last_at, v.example, v.message_id"
        " FROM ingest.violations v JOIN ingest.sources s ON s.id = v.source_id"
        " WHERE ($1::uuid IS NULL OR v.source_id = $1) AND ($2::text IS NULL OR v.event = $2) AND v.id < $3"
        " ORDER BY v.id DESC LIMIT $4",
        None if source is None else await queries.source_id(tx, source),
        event,
        before,
        limit,
    )
