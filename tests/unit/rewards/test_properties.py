"""What must hold for any history."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from libs.common.contracts.input import Input
from libs.common.errors import Conflict
from tests.unit.rewards.history import Customer, adjust, order, refund

ORDERS = ("a", "b", "c", "d")
cents = st.integers(0, 20_000).map(lambda minor: f"{minor / 100:.2f}")


@st.composite
def histories(draw: st.DrawFn) -> list[Input]:
    """Orders (each id once), and refunds of some of them: whole, partial, too large, several, in another currency."""
    told: list[Input] = []
    for day, id in enumerate(draw(st.lists(st.sampled_from(ORDERS), unique=True, min_size=1))):
        told.append(order(id, draw(cents | st.none()), day=day))
        for number in range(draw(st.integers(0, 3))):
            more: dict[str, Any] = {"currency": "EUR"} if draw(st.integers(0, 9)) == 0 else {}
            told.append(refund(id, draw(cents | st.none()), record=str(number), **more))
    return told


@given(histories(), st.data())
def test_any_order_of_arrival_gives_the_same(history: list[Input], data: st.DataObject) -> None:
    told, shuffled = Customer(), Customer()
    for each in history:
        told.tell(each)
    for each in data.draw(st.permutations(history)):
        shuffled.tell(each)
    assert told.standing() == shuffled.standing()


@given(histories(), st.data())
def test_told_again_it_changes_nothing(history: list[Input], data: st.DataObject) -> None:
    once, again = Customer(), Customer()
    for each in history:
        once.tell(each)
        again.tell(each)
        again.tell(data.draw(st.sampled_from(history)))
    for each in data.draw(st.permutations(history)):
        assert again.tell(each) == [] or each not in history
    assert once.standing() == again.standing()


@given(histories(), st.lists(st.integers(-300, 300).filter(bool), max_size=6), st.data())
def test_adjustments_never_make_a_balance_negative_and_everything_adds_up(
    history: list[Input], changes: list[int], data: st.DataObject
) -> None:
    customer = Customer()
    commands = [adjust(points, f"adjust-{number}") for number, points in enumerate(changes)]
    for each in data.draw(st.permutations([*history, *commands])):
        before = customer.wallet.balance
        try:
            customer.tell(each)
        except Conflict:
            assert before + each.body.points < 0
        else:
            assert each not in commands or customer.wallet.balance >= min(before, 0)


@given(histories(), st.data())
def test_merged_customers_stand_as_if_they_had_been_one(history: list[Input], data: st.DataObject) -> None:
    """Whoever of the two a record went to, also when both were told the same order."""
    one, ann, anonymous = Customer(), Customer(), Customer()
    merging = data.draw(st.integers(0, len(history)))
    for each in history[:merging]:
        one.tell(each)
        told = data.draw(st.sampled_from([[ann], [anonymous], [ann, anonymous]]))
        for customer in told:
            customer.tell(each)
    ann.absorb(anonymous)
    for each in history[merging:]:
        one.tell(each)
        ann.tell(each)
    merged, expected = ann.standing(), one.standing()
    del merged["lots"], expected["lots"]  # a duplicate leaves its lot, with nothing in it
    assert merged == expected


@given(histories(), st.lists(cents, max_size=4))
def test_earn_then_refund_in_parts_is_an_identity(history: list[Input], parts: list[str]) -> None:
    """Partial refunds that reach the whole order take back exactly all of its points."""
    customer = Customer()
    for each in history:
        customer.tell(each)
    before = customer.standing()
    customer.tell(order("x", "99.99"))
    total = 0
    for number, part in enumerate(parts):
        customer.tell(refund("x", part, record=f"part-{number}"))
        total += round(float(part) * 100)
    if total < 9_999:
        customer.tell(refund("x", f"{(9_999 - total) / 100:.2f}", record="rest"))
    after = customer.standing()
    for name in ("balance", "qualifying"):
        assert after[name] == before[name]
    assert {id: earned for id, (_, earned) in after["badges"].items()} == {
        id: earned for id, (_, earned) in before["badges"].items()
    }
    assert [lot for lot in after["lots"] if lot[4] != "x"] == before["lots"]
