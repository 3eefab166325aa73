"""Profile journals the facts of other services, with the customer."""

from libs.common.contracts.ids import derived
from libs.common.contracts.metrics import METRICS
from libs.common.contracts.records import encode
from libs.common.contracts.rewards import REWARDS, BadgeEarned
from libs.common.contracts.triggers import TRIGGERS
from libs.common.log.append import Outgoing
from tests.integration.profile.service import NOON, Profile, event


def badge(customer: str, number: int, topic: str = REWARDS) -> Outgoing:
    fact = BadgeEarned(badge="b", name="Ten orders", count=10, occurrence=number)
    value = encode(
        id=str(derived(customer, topic, str(number))),
        source=f"/{topic.split('.')[0]}",
        type=fact.TYPE,
        time=NOON,
        recordedtime=NOON,
        subject=customer,
        causationid="m1",
        depth=1,
        stamp="0/1/0/1",
        data=fact,
    )
    return Outgoing(customer, value, NOON)


async def test_facts_of_all_services_are_journalled_with_the_customer(profile: Profile) -> None:
    await profile.tell(event("identify", "u1", message="m1", traits={"plan": "gold"}))
    customer = await profile.id_of("user:u1")
    for topic in (REWARDS, TRIGGERS, METRICS):
        await profile.tell(badge(customer, 1, topic), badge(customer, 2, topic), topic=topic)
    facts = [record for record in await profile.records() if record["type"] == "badge.earned.v1"]
    assert len(facts) == 6
    for fact in facts:
        assert fact["key"] == customer
        assert fact["data"]["customer"]["traits"] == {"plan": "gold"}
        assert (fact["stamp"], fact["depth"], fact["data"]["count"]) == ("0/1/0/1", 1, 10)


async def test_facts_of_a_customer_who_has_left_are_the_survivors(profile: Profile) -> None:
    await profile.tell(event("page", device="a1", message="m1"), event(user="u1", message="m2"))
    anonymous, survivor = await profile.id_of("anon:a1"), await profile.id_of("user:u1")
    await profile.tell(event("identify", "u1", "a1", message="m3"))
    await profile.tell(badge(anonymous, 1), topic=REWARDS)
    (fact,) = [record for record in await profile.records() if record["type"] == "badge.earned.v1"]
    assert (fact["key"], fact["data"]["customer"]["id"], fact["subject"]) == (survivor, survivor, anonymous)


async def test_a_fact_of_a_customer_nobody_knows_waits_for_a_person(profile: Profile) -> None:
    await profile.tell(event(user="u1", message="m1"))
    unknown = badge("018f0000-0000-8000-8000-000000000000", 1)
    await profile.tell(unknown, badge(await profile.id_of("user:u1"), 1), topic=REWARDS)
    assert {record["type"] for record in await profile.records()} == {"track.v1", "badge.earned.v1"}
    (letter,) = (await profile.get("profile/dead-letters"))["items"]
    assert "no customer" in letter["error"]
