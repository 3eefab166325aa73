"""What other services decided comes back through the journal, as news of the customer."""

from libs.common.contracts.ids import derived
from libs.common.contracts.metrics import METRICS
from libs.common.contracts.records import encode
from libs.common.contracts.rewards import REWARDS, BadgeEarned
from libs.common.contracts.triggers import TRIGGERS
from libs.common.log.append import Outgoing
from libs.common.settings import Settings
from tests.integration.profile.said import NOON, holder, journal, running, said, tell


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


async def test_facts_of_all_services_are_journalled_with_the_customer(settings: Settings) -> None:
    async with running(settings) as part:
        await tell(part, said("identify", "u1", message="m1", traits={"plan": "gold"}))
        customer = str(await holder(part, "user:u1"))
        for topic in (REWARDS, TRIGGERS, METRICS):
            await tell(part, badge(customer, 1, topic), badge(customer, 2, topic), topic=topic)
        facts = [record for record in await journal(part) if record["type"] == "badge.earned.v1"]
        assert len(facts) == 6
        for fact in facts:
            assert fact["key"] == customer
            assert fact["data"]["customer"]["traits"] == {"plan": "gold"}
            assert (fact["stamp"], fact["depth"], fact["data"]["count"]) == ("0/1/0/1", 1, 10)


async def test_facts_of_a_customer_who_has_left_are_the_survivors(settings: Settings) -> None:
    async with running(settings) as part:
        await tell(part, said("page", device="a1", message="m1"), said(user="u1", message="m2"))
        anonymous, survivor = str(await holder(part, "anon:a1")), str(await holder(part, "user:u1"))
        await tell(part, said("identify", "u1", "a1", message="m3"))
        await tell(part, badge(anonymous, 1), topic=REWARDS)
        (fact,) = [record for record in await journal(part) if record["type"] == "badge.earned.v1"]
        assert (fact["key"], fact["data"]["customer"]["id"], fact["subject"]) == (survivor, survivor, anonymous)


async def test_a_fact_of_a_customer_nobody_knows_waits_for_a_person(settings: Settings) -> None:
    async with running(settings) as part:
        await tell(part, said(user="u1", message="m1"))
        unknown = badge("018f0000-0000-8000-8000-000000000000", 1)
        await tell(part, unknown, badge(str(await holder(part, "user:u1")), 1), topic=REWARDS)
        assert {record["type"] for record in await journal(part)} == {"track.v1", "badge.earned.v1"}
        (letter,) = await part.dead_letters.page(True, 10, None)
        assert "no customer" in letter["error"]
