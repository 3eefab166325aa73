"""What a customer's token opens, and that it is their own, over real HTTP."""

from datetime import timedelta

import pytest

from libs.common.contracts.records import Binding
from libs.common.contracts.registry import OWN_SCOPES, OwnScope
from libs.common.http.auth.tokens import mint_customer
from libs.common.settings import Settings
from tests.conftest import CUSTOMER_KEYS
from tests.integration.rewards.service import ANN, BEN, Rewards, merge, order

OWN = ("points", "statement", "badges", "level")


def own(
    ref: str, *scopes: OwnScope, ttl: timedelta = timedelta(hours=1), private: str = CUSTOMER_KEYS[0]
) -> dict[str, str]:
    return {"Authorization": f"Bearer {mint_customer(private, ref, scopes or OWN_SCOPES, ttl=ttl)}"}


async def status(rewards: Rewards, ref: str, headers: dict[str, str], what: str = "points") -> int:
    answer = await rewards.client.get(f"/v1/customers/{ref}/{what}", headers=headers)
    if answer.is_error:
        assert answer.headers["content-type"] == "application/problem+json"
    return answer.status_code


@pytest.fixture
async def two(rewards: Rewards) -> Rewards:
    await rewards.publish()
    await rewards.journal(
        order(ANN, "1", 30, bound=[Binding("user", "ann", 1)]), order(BEN, "2", 10, bound=[Binding("anon", "b1", 1)])
    )
    return rewards


async def test_a_customer_reads_their_own(two: Rewards) -> None:
    for what in OWN:
        for ref in ("user:ann", ANN):
            for subject in ("user:ann", ANN):
                assert await status(two, ref, own(subject, "own:points"), what) == 200
            assert await status(two, ref, own("anon:b1"), what) == 403


async def test_a_stranger_learns_nothing_of_who_is_a_customer(two: Rewards) -> None:
    said = set()
    for ref in ("anon:b1", BEN, "user:nobody", "33333333-3333-8333-8333-333333333333", "nonsense"):
        answer = await two.client.get(f"/v1/customers/{ref}/points", headers=own("user:ann"))
        assert answer.status_code == 403
        said.add(answer.json()["detail"])
    assert len(said) == 1
    # of oneself one may hear that nothing is known yet
    assert await status(two, "user:new", own("user:new")) == 404
    assert await status(two, "user:ann", own("user:new")) == 404


async def test_after_a_merge_both_are_the_survivor(two: Rewards) -> None:
    assert await status(two, "user:ann", own("anon:b1")) == 403
    await two.journal(*merge(ANN, BEN))
    for subject in ("anon:b1", BEN, "user:ann", ANN):
        for ref in ("anon:b1", BEN, "user:ann", ANN):
            answer = await two.client.get(f"/v1/customers/{ref}/points", headers=own(subject))
            assert (answer.status_code, answer.json().get("customer")) == (200, ANN), (subject, ref)


async def test_it_opens_nothing_else_and_not_for_ever(two: Rewards, settings: Settings) -> None:
    ann = own("user:ann")
    assert await status(two, "user:ann", own("user:ann", "own:inbox")) == 403
    assert await status(two, "user:ann", own("user:ann", ttl=timedelta(hours=-1))) == 401
    assert await status(two, "user:ann", own("user:ann", ttl=timedelta(days=2))) == 401
    for path in ("ledger", "programmes", "rewards/summary", "rewards/dead-letters"):
        assert (await two.client.get(f"/v1/{path}", headers=ann)).status_code == 403
    adjust = {"points": 1000, "reason": "because"}
    answer = await two.client.post("/v1/customers/user:ann/adjustments", json=adjust,
                                   headers={**ann, "Idempotency-Key": "mine"})  # fmt: skip
    assert answer.status_code == 403
    assert "customer's token" in answer.json()["detail"]
