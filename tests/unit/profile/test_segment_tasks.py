"""Timers of segments and the evaluation after a publication, beside each other; and a customer who cannot be looked at."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import cast
from uuid import UUID

import asyncpg

from libs.common.fold.service import ConsumerService
from services.profile.segments.rulebooks import Rulebooks
from services.profile.segments.tasks import SegmentTasks

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)


class _Tasks(SegmentTasks):
    """Three pages to fill, and a note of what was done; who is `bad` cannot be stored."""

    def __init__(self, bad: UUID | None = None) -> None:
        super().__init__(cast("ConsumerService", None), Rulebooks())
        self.done: list[str] = []
        self.seen: list[UUID] = []
        self._bad = bad

    async def fire(self, now: datetime) -> int:
        self.done.append("fire")
        return 0

    async def fill_page(self) -> int:
        self.done.append("fill")
        return 100 if self.done.count("fill") < 3 else 0

    async def run(self) -> None:
        await self._run_once()

    async def look(self, at: Mapping[UUID, datetime]) -> None:
        await self._refresh(at, 1)

    async def _together(self, at: Mapping[UUID, datetime], number: int) -> None:
        if self._bad in at:
            raise asyncpg.CharacterNotInRepertoireError("a text that PostgreSQL does not take")
        self.seen += at


async def test_timers_fire_while_customers_are_evaluated() -> None:
    tasks = _Tasks()
    await tasks.run()
    assert tasks.done == ["fire", "fill", "fire", "fill", "fire", "fill"]


async def test_a_customer_who_cannot_be_stored_stops_nobody_else() -> None:
    first, bad, last = UUID(int=1), UUID(int=2), UUID(int=3)
    tasks = _Tasks(bad)
    await tasks.look(dict.fromkeys((first, bad, last), NOON))
    assert (tasks.seen, tasks.refused) == ([first, last], {bad})
