"""Two customers who are one: points, statement, badges and levels of both, once."""

import uuid

from libs.common.log.partition import partition_of
from tests.integration.rewards.service import ANN, PROGRAMME, Rewards, merge, order, refund

ELSEWHERE = next(
    id for id in (str(uuid.UUID(int=n, version=4)) for n in range(1, 50)) if partition_of(id, 8) != partition_of(ANN, 8)
)
BESIDE = next(
    id for id in (str(uuid.UUID(int=n, version=4)) for n in range(1, 50)) if partition_of(id, 8) == partition_of(ANN, 8)
)


async def test_everything_of_both_is_found_under_either(rewards: Rewards) -> None:
    await rewards.publish()
    for other, label in ((ELSEWHERE, "e"), (BESIDE, "b")):
        await rewards.journal(order(ANN, f"ann {label}", 20), order(other, label, 10), order(other, f"{label} 2", 5))
        await rewards.adjust(other, 7)
        await rewards.journal(*merge(ANN, other))
    expected = 2 * (40 + 20 + 10 + 7)
    for ref in (ANN, ELSEWHERE, BESIDE, f"anon:of-{ELSEWHERE}"):
        points = await rewards.get(f"customers/{ref}/points")
        assert (points["customer"], points["balance"]) == (ANN, expected)
    lines = (await rewards.get(f"customers/{ANN}/statement"))["items"]
    assert (len(lines), sum(line["points"] for line in lines)) == (8, expected)
    assert lines[0]["balance"] == expected
    summary = await rewards.get("rewards/summary")
    assert summary["badges"] == {"regular": 1}
    assert summary["levels"] == {"bronze": 1}
    assert (summary["points_issued"], summary["points_adjusted"], summary["balance"]) == (140, 14, 154)
    origins = await rewards.database.pool.fetch("SELECT DISTINCT customer, origin FROM rewards.entries")
    assert {(str(row["customer"]), str(row["origin"])) for row in origins} == {
        (ANN, ANN),
        (ANN, ELSEWHERE),
        (ANN, BESIDE),
    }
    await rewards.check()


async def test_what_both_had_is_had_once(rewards: Rewards) -> None:
    await rewards.publish({**PROGRAMME, "badges": [{"id": "first", "name": "First"}]})
    await rewards.journal(
        order(ANN, "same", 30), order(ELSEWHERE, "same", 30, record="other"), order(ELSEWHERE, "later", 30)
    )
    assert (await rewards.get("rewards/summary"))["badges"] == {"first": 2}
    assert (await rewards.get("rewards/summary"))["levels"] == {"bronze": 2}
    await rewards.journal(*merge(ANN, ELSEWHERE), refund(ANN, "later", 15))
    summary = await rewards.get("rewards/summary")
    assert (summary["badges"], summary["levels"], summary["balance"]) == ({"first": 1}, {"bronze": 1}, 90)
    assert (summary["points_issued"], summary["points_reversed"]) == (180, 90)
    await rewards.check()


async def test_a_chain_of_merges_in_one_batch(rewards: Rewards) -> None:
    """Told before the service looks: all of it is one batch of each partition."""
    await rewards.publish()
    last = str(uuid.uuid4())
    await rewards.journal(
        order(ELSEWHERE, "1", 10), order(ANN, "2", 20), order(last, "3", 30), *merge(ANN, ELSEWHERE), *merge(last, ANN)
    )
    assert (await rewards.get(f"customers/{ELSEWHERE}/points"))["customer"] == last
    summary = await rewards.get("rewards/summary")
    assert (summary["balance"], summary["badges"], summary["levels"]) == (120, {"regular": 1}, {"bronze": 1})
    assert len((await rewards.get(f"customers/{last}/statement"))["items"]) == 3
    await rewards.check()


async def test_who_falls_below_the_lowest_level_is_counted_in_none(rewards: Rewards) -> None:
    await rewards.publish({**PROGRAMME, "badges": []})
    await rewards.journal(order(ANN, "1", 200))
    before = await rewards.get("rewards/summary")
    assert sum(before["levels"].values()) == 1
    await rewards.journal(refund(ANN, "1"))
    assert (await rewards.get(f"customers/{ANN}/level"))["level"] is None
    assert (await rewards.get("rewards/summary"))["levels"] == {}
    assert await rewards.database.pool.fetchval("SELECT count(*) FROM rewards.standings WHERE kind = 'levels'") == 0
