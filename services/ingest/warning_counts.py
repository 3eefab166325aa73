"""Warnings, counted by source, day and wording: SDKs throw away the answers in which they stand."""

import asyncio
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import lru_cache
from uuid import UUID

from libs.common.contracts import ids
from libs.common.runtime.periodic import PeriodicTask
from libs.common.runtime.postgres import Postgres
from services.ingest import store
from services.ingest.build_records import BuiltRecords
from services.ingest.store import Warned

FLUSH = 1.0  # seconds between writes
WORDINGS = 100  # of a source and day in one process; the rest is counted together
OTHERS = "other warnings"
_SPECIFIC = re.compile(r"'[^']*'|\"[^\"]*\"|sha256:\w+|(?<=taken for )\S+")
_LENGTH = 500

_Slot = tuple[UUID, date, str]


@dataclass(slots=True)
class _Count:
    events: int
    last_at: datetime
    example: str
    event: str
    message_id: str


class WarningCounts(PeriodicTask):
    """Counts without waiting, and writes in the background. What is not written yet is lost with the process."""

    name = "warning counts"
    every = FLUSH

    def __init__(self, postgres: Postgres) -> None:
        super().__init__()
        self._postgres = postgres
        self._counts: dict[_Slot, _Count] = {}
        self._wordings: dict[tuple[UUID, date], set[str]] = {}

    async def stop(self) -> None:
        """Write what waits, if PostgreSQL lets us."""
        await super().stop()
        async with asyncio.timeout(3):
            await self._run_once()

    def add(self, source: UUID, received_at: datetime, built: BuiltRecords) -> None:
        """Count the warnings of a request's events."""
        stored = iter(built.records)
        for result in built.results:
            if result.status == "rejected":
                continue
            name = next(stored).name or ""
            if result.reason is None:
                continue
            for warning in result.reason.split("; "):
                self.count(source, received_at, warning, name, result.messageId or "")

    def count(self, source: UUID, at: datetime, warning: str, event: str, message_id: str) -> None:
        """Count one warning of an event."""
        day = at.astimezone(UTC).date()
        slot = source, day, self._known(source, day, wording(warning))
        if (count := self._counts.get(slot)) is None:
            self._counts[slot] = _Count(1, at, warning[:_LENGTH], event, message_id)
            return
        count.events += 1
        if at >= count.last_at:
            count.last_at, count.example, count.event, count.message_id = at, warning[:_LENGTH], event, message_id

    def _known(self, source: UUID, day: date, words: str) -> str:
        known = self._wordings.get((source, day))
        if known is None:
            self._wordings = {at: texts for at, texts in self._wordings.items() if at[1] == day}
            known = self._wordings[source, day] = set()
        if words not in known and len(known) >= WORDINGS:
            return OTHERS
        known.add(words)
        return words

    async def _run_once(self) -> None:
        if not self._counts:
            return
        counts, self._counts = self._counts, {}
        try:
            async with self._postgres.database.transaction() as tx:
                await store.add_warnings(
                    tx, [_row(slot, count) for slot, count in sorted(counts.items(), key=_by_slot)]
                )
        except BaseException:
            self._give_back(counts)
            raise

    def _give_back(self, counts: dict[_Slot, _Count]) -> None:
        """What could not be written waits for the next time, under the newest example."""
        for slot, count in counts.items():
            if (newer := self._counts.get(slot)) is None:
                self._counts[slot] = count
            else:
                newer.events += count.events


@lru_cache(maxsize=4096)
def wording(warning: str) -> str:
    """A warning without what is particular to one event."""
    return _SPECIFIC.sub("…", warning)[:_LENGTH]


def _by_slot(item: tuple[_Slot, _Count]) -> _Slot:
    return item[0]


def _row(slot: _Slot, count: _Count) -> Warned:
    source, day, warning = slot
    texts: Sequence[str] = [store.storable(text) for text in (warning, count.example, count.event, count.message_id)]
    return Warned(source, day, texts[0], ids.fresh(), count.events, count.last_at, *texts[1:])
