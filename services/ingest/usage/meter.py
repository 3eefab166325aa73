"""Counts events by write key and day, in memory and every second in the database, and refuses what is over a key's limits."""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta, tzinfo
from uuid import UUID

from libs.common.db.errors import UNAVAILABLE
from libs.common.errors import TooMany, Unavailable
from libs.common.observability.telemetry import log
from libs.common.runtime.periodic import PeriodicTask
from libs.common.runtime.postgres import Postgres
from services.ingest.build_records import BuiltRecords
from services.ingest.queries import Grant
from services.ingest.usage import store
from services.ingest.usage.bucket import Bucket
from services.ingest.usage.store import Place

logger = log("usage")


class UsageMeter(PeriodicTask):
    """`admit` before events are stored, `count` once they are.

    A limit by the second holds in each process. A quota by the day counts what all processes have stored, as of their last
    write: it may be passed by what comes within a second. A process that is killed forgets the last second.
    """

    name = "usage"
    every = 1.0

    def __init__(self, postgres: Postgres, zone: tzinfo, clock: Callable[[], float] = time.time) -> None:
        super().__init__()
        self._postgres = postgres
        self._zone = zone
        self._clock = clock
        self._day = date.min
        self._day_ends = 0.0
        self._pending: dict[Place, list[int]] = {}
        self._of_today: dict[UUID, list[int]] = {}  # the same lists, by key or webhook: one look-up a request
        self._stored: dict[UUID, int] = {}  # of today, by all processes, as of the last write
        self._buckets: dict[UUID, Bucket] = {}
        self._away = False

    async def stop(self) -> None:
        """Write what was counted, if PostgreSQL lets us."""
        await super().stop()
        with suppress(TimeoutError):
            async with asyncio.timeout(3):
                await self._run_once()

    def admit(self, grant: Grant, events: int) -> None:
        """Raises TooMany when a write key has had its events of this second, or of this day."""
        if grant.events_per_second is not None:
            self._require_rate(grant, grant.events_per_second, events)
        if grant.events_per_day is not None:
            self._require_quota(grant, grant.events_per_day)

    def count(self, grant: Grant, built: BuiltRecords) -> None:
        """These events were answered, and those that are not rejected are stored."""
        day = self._today()
        counts = self._of_today.get(grant.through)
        if counts is None:
            counts = [0, 0, 0]
            self._of_today[grant.through] = self._pending[Place(grant.source_id, day, grant.through)] = counts
        counts[0] += len(built.records)
        counts[1] += sum(result.status == "warning" for result in built.results)
        counts[2] += len(built.refused)

    def _require_rate(self, grant: Grant, rate: int, events: int) -> None:
        now = self._clock()
        bucket = self._buckets.get(grant.through)
        if bucket is None or bucket.rate != rate:
            bucket = self._buckets[grant.through] = Bucket(rate, now)
        if wait := bucket.take(events, now):
            raise TooMany(f"this write key may send {rate:,} events a second: send these again later", wait)

    def _require_quota(self, grant: Grant, quota: int) -> None:
        self._today()
        pending = self._of_today.get(grant.through)
        stored = self._stored.get(grant.through, 0) + (pending[0] if pending else 0)
        if stored >= quota:
            wait = max(int(self._day_ends - self._clock()) + 1, 1)
            raise TooMany(
                f"this write key may send {quota:,} events a day, and they were sent: it goes on tomorrow", wait
            )

    def _today(self) -> date:
        now = self._clock()
        if now >= self._day_ends:
            moment = datetime.fromtimestamp(now, UTC).astimezone(self._zone)
            tomorrow = datetime.combine(moment.date() + timedelta(days=1), datetime.min.time(), self._zone)
            self._day, self._day_ends = moment.date(), tomorrow.timestamp()
            self._stored.clear()
            self._of_today.clear()
        return self._day

    async def _run_once(self) -> None:
        if not self._pending:
            return
        written = {place: list(counts) for place, counts in self._pending.items()}
        try:
            async with self._postgres.database.transaction() as tx:
                totals = await store.add(tx, written)
        except (Unavailable, *UNAVAILABLE) as error:
            if not self._away:
                logger.warning("usage cannot be written just now, it is counted on", error=str(error))
            self._away = True
            return
        self._away = False
        today = self._today()
        for place, then in written.items():
            counts = self._pending[place]
            for column, number in enumerate(then):
                counts[column] -= number
            if not any(counts):
                del self._pending[place]
                if place.day == today:
                    del self._of_today[place.through]
        self._stored.update({place.through: total for place, total in totals.items() if place.day == today})
