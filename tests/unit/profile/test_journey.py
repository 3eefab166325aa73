"""Stages of the journey, and what a relationship is based on."""

from itertools import permutations
from typing import Any

import pytest

from services.profile.domain.journey import DAY, AsOf, Journey, relationship
from services.profile.domain.state import Customer, Standing, micros
from tests.unit.profile.world import NOON, World, said

JOURNEY = Journey(loyal_orders=3)
LAST = 1_000 * DAY


def _order(message: str, minute: int, **who: str) -> bytes:
    properties = {"order_id": message, "revenue": 10}
    return said(message, minute=minute, event="Order Completed", properties=properties, **who)


@pytest.mark.parametrize(
    ("orders", "advocate", "silent", "stage"),
    [
        (0, False, 0, "lead"),
        (0, True, 500, "lead"),
        (1, False, 0, "first_purchase"),
        (2, False, 59, "repeat"),
        (3, False, 0, "loyal"),
        (1, True, 0, "advocate"),
        (3, True, 60, "at_risk"),
        (1, False, 119, "at_risk"),
        (3, False, 120, "lapsed"),
        (3, False, 365, "left"),
    ],
)
def test_stages(orders: int, advocate: bool, silent: int, stage: str) -> None:
    state = Customer(user="ann", completed=orders, advocate=advocate, last=LAST)
    assert AsOf(LAST + silent * DAY, JOURNEY).stage(state) == stage


def test_a_stage_turns_at_the_moment_that_is_foretold() -> None:
    state, now, stages = Customer(user="ann", completed=1, last=LAST), LAST, []
    while (turn := AsOf(now, JOURNEY).turns_at(state)) is not None:
        before, now = AsOf(turn - 1, JOURNEY).stage(state), turn
        stages.append(AsOf(now, JOURNEY).stage(state))
        assert before != stages[-1]
    assert stages == ["at_risk", "lapsed", "left"]
    assert AsOf(LAST, JOURNEY).turns_at(Customer(user="ann", last=LAST)) is None


def test_a_visitor_becomes_a_lead_by_an_id_or_an_address() -> None:
    def stage(*told: bytes) -> str:
        (loaded,) = World().tell_all(told).living
        return AsOf(micros(NOON), JOURNEY).stage(loaded.state)

    assert stage(said("m1", anonymousId="a")) == "visitor"
    assert stage(said("m1", anonymousId="a", userId="u")) == "lead"
    address: dict[str, Any] = {"traits": {"email": "ann@example.org"}}
    assert stage(said("m1", "identify", anonymousId="a", **address)) == "lead"
    forgotten = said("m2", "identify", 1, anonymousId="a", traits={"email": None})
    assert stage(said("m1", "identify", anonymousId="a", **address), forgotten) == "visitor"


def test_the_snapshot_has_the_stage_and_the_order_of_arrival_does_not_matter() -> None:
    told = [
        said("m1", anonymousId="a", event="Product Reviewed"),
        _order("o1", 1, anonymousId="a"),
        _order("o2", 2, userId="u"),
        said("m2", minute=3, userId="u", anonymousId="a"),
    ]
    for order in permutations(told):
        world = World().tell_all([*order, said("last", minute=4, userId="u")])
        assert world.of("user:u").advocate
        assert world.journal[-1][1]["data"]["customer"]["stage"] == "advocate"


def test_what_a_relationship_is_based_on() -> None:
    assert relationship(Customer(), JOURNEY).kind == "need_based"
    assert relationship(Customer(completed=1), JOURNEY).kind == "transactional"
    assert relationship(Customer(completed=3), JOURNEY).kind == "loyalty_based"
    gold = relationship(Customer(standing=Standing(level="Gold")), JOURNEY)
    assert gold == ("loyalty_based", "has the level Gold")
