"""From the journal to points, badges and levels over REST."""

from libs.common.contracts.records import Binding
from tests.integration.rewards.service import ANN, Rewards, order, refund


async def test_an_order_gives_points_that_can_be_read(rewards: Rewards) -> None:
    await rewards.publish()
    await rewards.journal(order(ANN, "o1", 29.99, bound=[Binding("user", "ann", 1)]))
    points = await rewards.get("customers/user:ann/points")
    assert (points["available"], points["balance"], points["qualifying"], points["debt"]) == (59, 59, 59, 0)
    assert [(lot["points"], lot["remaining"], lot["rule"], lot["order_id"]) for lot in points["lots"]] == [
        (59, 59, "two-per-unit", "o1")
    ]
    level = await rewards.get(f"customers/{ANN}/level")
    assert (level["level"]["id"], level["next"]["id"], level["points_to_go"]) == ("bronze", "gold", 441)
    assert [fact["type"] for fact in await rewards.facts()] == ["points.credited.v1", "level.reached.v1"]
    await rewards.check()


async def test_a_refund_takes_back_points_badges_and_levels(rewards: Rewards) -> None:
    await rewards.publish()
    await rewards.journal(order(ANN, "o1", 30), order(ANN, "o2", 10))
    badges = (await rewards.get(f"customers/{ANN}/badges"))["items"]
    assert [(badge["badge"], badge["earned"], badge["count"], badge["needed"]) for badge in badges] == [
        ("regular", 1, 2, None)
    ]
    await rewards.journal(refund(ANN, "o1"))
    points = await rewards.get(f"customers/{ANN}/points")
    assert (points["balance"], points["qualifying"]) == (20, 20)
    badges = (await rewards.get(f"customers/{ANN}/badges"))["items"]
    assert [(badge["badge"], badge["earned"], badge["count"], badge["needed"]) for badge in badges] == [
        ("regular", 0, 1, 2)
    ]
    assert (await rewards.get(f"customers/{ANN}/level"))["level"] is None
    assert await rewards.get("rewards/summary") == {
        "points_issued": 80,
        "points_reversed": 60,
        "points_adjusted": 0,
        "points_expired": 0,
        "balance": 20,
        "badges": {},
        "levels": {},
        "ledger_sum": 0,
    }
    await rewards.check()
