"""Limits of write keys, by the clock that is given."""

from collections.abc import Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any, cast
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest

from libs.common.errors import TooMany
from libs.common.runtime.postgres import Postgres
from services.ingest.build_records import BuiltRecords, EventResult
from services.ingest.queries import Grant
from services.ingest.usage import store
from services.ingest.usage.bucket import BURST, Bucket
from services.ingest.usage.meter import UsageMeter
from services.ingest.usage.store import Place

KEY = Grant(UUID(int=1), "shop", "USD", None, None, UUID(int=2))
EVENING = datetime(2026, 3, 28, 22, 59, 0, tzinfo=UTC).timestamp()  # a minute before midnight in Berlin


def test_a_rate_holds_over_time_and_lets_a_batch_pass_whole() -> None:
    bucket = Bucket(100, 0.0)
    assert bucket.take(100 * BURST + 500, 0.0) == 0  # after a pause, and into debt
    assert bucket.take(1, 1.0) == 5  # 400 are owed
    assert bucket.take(1, 5.0) == 1
    assert bucket.take(1, 5.1) == 0
    passed = sum(10 for tick in range(51, 1051) if bucket.take(10, tick / 10) == 0)
    assert passed == pytest.approx(100 * 100, rel=0.02)


def test_what_waits_at_most_is_a_burst() -> None:
    bucket = Bucket(2, 0.0)
    assert sum(bucket.take(1, 10_000.0) == 0 for _ in range(100)) == 2 * BURST


class Clock:
    now = EVENING

    def __call__(self) -> float:
        return self.now


class Rows:
    """The table of usage, and the database around it, as far as the meter needs them."""

    def __init__(self) -> None:
        self.found: dict[Place, list[int]] = {}
        self.fails = False

    async def add(self, _: object, counts: Mapping[Place, Sequence[int]]) -> dict[Place, int]:
        if self.fails:
            raise OSError("away")
        for place, numbers in counts.items():
            held = self.found.setdefault(place, [0, 0, 0])
            self.found[place] = [one + more for one, more in zip(held, numbers, strict=True)]
        return {place: self.found[place][0] for place in counts}

    @property
    def database(self) -> "Rows":
        return self

    @asynccontextmanager
    async def transaction(self) -> Any:
        yield None


@pytest.fixture
def rows(monkeypatch: pytest.MonkeyPatch) -> Rows:
    made = Rows()
    monkeypatch.setattr(store, "add", made.add)
    return made


def meter(rows: Rows, clock: Clock) -> UsageMeter:
    return UsageMeter(cast(Postgres, rows), ZoneInfo("Europe/Berlin"), clock)


def answered(stored: int, warned: int = 0, rejected: int = 0) -> BuiltRecords:
    results = [EventResult("warning" if n < warned else "ok", "m") for n in range(stored)]
    results += [EventResult("rejected", "m")] * rejected
    return BuiltRecords(cast(Any, [None] * stored), results, cast(Any, [None] * rejected))


async def test_a_quota_counts_what_all_processes_stored_and_ends_with_the_day(rows: Rows) -> None:
    clock, key = Clock(), replace(KEY, events_per_day=10)
    one, other = meter(rows, clock), meter(rows, clock)
    one.admit(key, 6)
    one.count(key, answered(6, warned=2, rejected=1))
    await one._run_once()
    other.count(key, answered(3))
    await other._run_once()
    other.admit(key, 1)
    other.count(key, answered(1))
    with pytest.raises(TooMany, match="10 events a day") as refused:
        other.admit(key, 1)
    assert refused.value.retry_after == 61
    await one._run_once()  # knows of no more than it stored itself
    one.admit(key, 1)
    one.count(key, answered(1))
    await one._run_once()
    with pytest.raises(TooMany):
        one.admit(key, 1)
    await other._run_once()
    clock.now += 61
    one.admit(key, 1)
    one.count(key, answered(2))
    await one._run_once()
    one.admit(key, 1)
    assert rows.found == {
        Place(KEY.source_id, date(2026, 3, 28), KEY.through): [11, 2, 1],
        Place(KEY.source_id, date(2026, 3, 29), KEY.through): [2, 0, 0],
    }


async def test_an_outage_loses_no_count(rows: Rows) -> None:
    clock = Clock()
    counting = meter(rows, clock)
    counting.count(KEY, answered(2))
    rows.fails = True
    await counting._run_once()
    clock.now += 61  # midnight
    counting.count(KEY, answered(3))
    rows.fails = False
    await counting._run_once()
    await counting._run_once()
    assert [counts[0] for _, counts in sorted(rows.found.items())] == [2, 3]


async def test_what_comes_while_it_is_written_is_counted(rows: Rows, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    counting = meter(rows, clock)

    async def meanwhile(tx: object, counts: Mapping[Place, Sequence[int]]) -> dict[Place, int]:
        counting.count(KEY, answered(4))
        return await rows.add(tx, counts)

    counting.count(KEY, answered(2))
    monkeypatch.setattr(store, "add", meanwhile)
    await counting._run_once()
    monkeypatch.setattr(store, "add", rows.add)
    await counting._run_once()
    assert list(rows.found.values()) == [[6, 0, 0]]


def test_a_rate_is_changed_with_the_key(rows: Rows) -> None:
    clock = Clock()
    counting = meter(rows, clock)
    slow = replace(KEY, events_per_second=1)
    counting.admit(slow, BURST)
    with pytest.raises(TooMany, match="1 events a second") as refused:
        counting.admit(slow, 1)
    assert refused.value.retry_after == 1
    counting.admit(replace(KEY, events_per_second=50), 1)
    counting.admit(KEY, 1_000_000)
