"""The null loop writes as many records as the run that it stands against."""

from datetime import UTC, datetime

import pytest

from libs.common.contracts.ingest import EVENTS
from libs.common.contracts.metrics import METRICS
from libs.common.contracts.profile import JOURNAL
from libs.common.contracts.rewards import REWARDS
from libs.common.contracts.triggers import TRIGGERS
from libs.common.fold.batch import Batch
from libs.common.log.reader import Record, TopicPartition
from tests.bench.against_null import compare
from tests.bench.null import Flow, Null, of_length, spread

FLOW = Flow(
    {EVENTS: 1000, JOURNAL: 1500, REWARDS: 300, TRIGGERS: 150, METRICS: 0},
    {EVENTS: 600, JOURNAL: 900, REWARDS: 400, TRIGGERS: 300, METRICS: 0},
)


def _work(topic: str, count: int) -> Batch:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    records = [Record(topic, 0, offset, "browser-1", b"x" * 600, now, offset) for offset in range(count)]
    return Batch(TopicPartition(topic, 0), records, 0, 0)


@pytest.mark.parametrize(("out", "into"), [(0, 7), (3, 7), (7, 7), (10, 7)])
def test_records_are_spread_evenly(out: int, into: int) -> None:
    shares = [spread(offset, out, into) for offset in range(into)]
    assert sum(shares) == out
    assert max(shares) - min(shares) <= 1


@pytest.mark.parametrize("length", [0, 5, 9])
def test_bytes_are_cut_or_filled_up(length: int) -> None:
    assert len(of_length(b"a value", length)) == length


async def test_each_service_writes_what_the_real_one_wrote() -> None:
    profile = await Null("profile", FLOW).apply(None, [_work(EVENTS, 1000), _work(REWARDS, 300), _work(TRIGGERS, 150)])  # type: ignore[arg-type]
    assert len(profile.outgoing) == 1500
    assert {(len(record.key), len(record.value)) for record in profile.outgoing} == {(36, 900)}
    rewards = await Null("rewards", FLOW).apply(None, [_work(JOURNAL, 1500)])  # type: ignore[arg-type]
    assert [len(record.value) for record in rewards.outgoing] == [400] * 300


def test_a_null_loop_that_moves_other_bytes_is_refused() -> None:
    compare(FLOW, FLOW)
    fewer = Flow({**FLOW.records, JOURNAL: 1400}, FLOW.length)
    with pytest.raises(RuntimeError, match="1,400 records"):
        compare(FLOW, fewer)
    shorter = Flow(FLOW.records, {**FLOW.length, REWARDS: 10})
    with pytest.raises(RuntimeError, match="10 bytes"):
        compare(FLOW, shorter)
