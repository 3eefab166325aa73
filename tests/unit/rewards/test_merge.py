"""Two customers who turn out to be one."""

from datetime import timedelta
from uuid import UUID

from libs.common.contracts.rewards import BadgeEarned, LevelReached, PointsReversed
from libs.common.fold.decider import Merged
from tests.unit.rewards.history import DAY, Customer, input, of, order, refund


def test_a_merge_moves_lots_with_their_dates_and_derives_the_level() -> None:
    ann, anonymous = Customer(), Customer()
    ann.tell(order("1", 40, day=3))
    anonymous.tell(order("2", 40, day=1))
    facts = ann.absorb(anonymous)
    assert [(order, lot.earned_at) for order, lot in ann.lots][::2] == [
        ("2", DAY + timedelta(days=1)),
        ("1", DAY + timedelta(days=3)),
    ]
    assert facts == [
        BadgeEarned(badge="pairs", name="Pairs", count=2, occurrence=1),
        LevelReached(level="silver", name="Silver", points=174),
    ]


def test_an_order_told_to_both_is_counted_once() -> None:
    ann, anonymous = Customer(), Customer()
    ann.tell(order("1", 40))
    anonymous.tell(order("1", 40, record="other"))
    facts = ann.absorb(anonymous)
    assert of(facts, PointsReversed) == facts
    assert (ann.wallet.balance, ann.progress("first").earned, ann.progress("pairs").count) == (
        87,
        1,
        1,
    )


def test_a_refund_meets_its_order_in_a_merge() -> None:
    ann, anonymous = Customer(), Customer()
    ann.tell(refund("1"))
    anonymous.tell(order("1", 40))
    ann.absorb(anonymous)
    assert (ann.wallet.balance, ann.progress("first").earned) == (0, 0)


def test_a_merge_of_the_unknown_says_nothing() -> None:
    assert Customer().tell(input("m", Merged(UUID(int=2)), type="customer.merged.v1")) == []
