"""Timers of segments and the evaluation after a publication, beside each other; and a customer who cannot be looked at."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import cast
from uuid import UUID

import asyncpg

from libs.common.fold.service import ConsumerService
from libs.common.log.reader import Lag, Position, TopicPartition
from services.profile.segments.rulebooks import Rulebooks
from services.profile.segments.tasks import FoldedUntil, SegmentTasks

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


def test_how_far_kafka_has_been_folded() -> None:
    """Kafka's lag has no age where another process reads the partition, or this one has not fetched anything yet."""
    a, b = TopicPartition("t", 0), TopicPartition("t", 1)
    folded = FoldedUntil()

    def look(second: int, *partitions: tuple[int, int]) -> int | None:
        """A look: the position and the unread records of each partition."""
        lags = {tp: Lag(records, 0.0) for tp, (_, records) in zip((a, b), partitions, strict=True)}
        positions = {tp: Position(0, next) for tp, (next, _) in zip((a, b), partitions, strict=True)}
        until = folded.look(NOON + timedelta(seconds=second), lags, positions)
        return None if until is None else (until - NOON).seconds

    assert look(0, (5, 0), (0, 100)) is None
    assert look(1, (5, 0), (99, 50)) is None
    assert look(2, (5, 0), (100, 60)) == 0
    assert look(3, (5, 0), (159, 7)) == 0
    assert look(4, (5, 0), (161, 9)) == 2
    assert look(5, (5, 1), (170, 0)) == 4
    assert look(6, (5, 1), (170, 0)) == 4
    assert look(7, (6, 0), (170, 0)) == 7


async def test_timers_fire_while_customers_are_evaluated() -> None:
    tasks = _Tasks()
    await tasks.run()
    assert tasks.done == ["fire", "fill", "fire", "fill", "fire", "fill"]


async def test_a_customer_who_cannot_be_stored_stops_nobody_else() -> None:
    first, bad, last = UUID(int=1), UUID(int=2), UUID(int=3)
    tasks = _Tasks(bad)
    await tasks.look(dict.fromkeys((first, bad, last), NOON))
    assert (tasks.seen, tasks.refused) == ([first, last], {bad})
