"""The stage of the journey where users see it: in answers, segments and the journal; and the rules that they change."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

from services.profile.segments.refresh import refresh
from services.profile.segments.rulebooks import Rulebooks
from tests.integration.profile.service import Profile, event
from tests.integration.profile.test_segments import at, facts, is_filled, names, now, published
from tests.support import eventually

DAY = timedelta(days=1)
RULES = {
    "loyal_orders": 2,
    "advocate_events": ["Told A Friend"],
    "at_risk_days": 10,
    "lapsed_days": 20,
    "left_days": 30,
}


async def _looked_at(profile: Profile, ref: str, time: datetime) -> None:
    """What a timer does that is due at a time."""
    async with profile.database.transaction() as tx:
        rules = await Rulebooks().newest(tx)
        customer = UUID(await profile.id_of(ref))
        await refresh(tx, {customer: time}, rules, UTC, profile.database.settings.partitions)


async def test_segments_follow_the_stage_by_events_by_themselves_and_by_new_rules(profile: Profile) -> None:
    at_risk = await published(profile, "silent", "customer.stage == 'at_risk'")
    loyal = await published(profile, "faithful", "customer.stage in ['loyal', 'advocate']")
    bought = now() - timedelta(hours=1)
    await profile.tell(
        at(bought - 59 * DAY, "ann", "Order Completed", "1", order_id="o1"),
        at(bought, "ben", "Order Completed", "2", order_id="o2"),
        at(bought, "ben", "Order Completed", "3", order_id="o3"),
    )
    assert (await profile.get("customers/user:ann"))["stage"] == "first_purchase"
    assert await facts(profile) == []
    async with profile.database.connection() as connection:
        due = await connection.fetchval(
            "SELECT due FROM profile.timers WHERE customer = $1", UUID(await profile.id_of("user:ann"))
        )
    assert due == bought + DAY
    await _looked_at(profile, "user:ann", due - timedelta(seconds=1))
    assert await names(profile, at_risk) == []
    await _looked_at(profile, "user:ann", due)
    assert await names(profile, at_risk) == ["ann"]

    groups = {"demographics": ["age"], "preferences": ["size"]}
    await profile.put("workspace/customers", {"journey": RULES, "trait_groups": groups})
    assert await profile.get("workspace/customers") == {"journey": RULES, "trait_groups": groups}
    await profile.tell(
        at(now(), "cleo", "Told A Friend", "4"), at(now(), "cleo", "Order Completed", "5", order_id="o5")
    )

    async def stages() -> list[str]:
        return [(await profile.get(f"customers/user:{user}"))["stage"] for user in ("ann", "ben", "cleo")]

    assert await stages() == ["left", "loyal", "advocate"]
    await eventually(lambda: is_filled(profile, at_risk))
    assert (await names(profile, loyal), await names(profile, at_risk)) == (["ben", "cleo"], [])
    snapshots = [record["data"]["customer"] for record in await profile.records()]
    assert {each.get("stage") for each in snapshots} >= {"first_purchase", "at_risk", "loyal", "advocate"}


async def test_traits_are_shown_in_the_groups_of_the_workspace(profile: Profile) -> None:
    await profile.put("workspace/customers", {"trait_groups": {"demographics": ["age", "city"]}})
    await profile.tell(event("identify", "ann", message="1", traits={"age": 30, "plan": "gold"}))
    ann = await profile.get("customers/user:ann")
    assert ann["trait_groups"] == {"demographics": {"age": 30}}
    assert (ann["stage"], ann["relationship"]["kind"]) == ("lead", "need_based")


async def test_rules_that_make_no_sense_are_refused(profile: Profile) -> None:
    for journey in ({"at_risk_days": 50, "lapsed_days": 50}, {"left_days": 100}, {"loyal_orders": 1}, {"loyal": 3}):
        assert (await profile.ask("PUT", "workspace/customers", 422, json={"journey": journey}))["detail"]
