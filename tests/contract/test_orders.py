"""Profile, rewards and metrics count the same: orders, net revenue, and points at one for each unit of it."""

import json
from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import msgspec
from hypothesis import example, given
from hypothesis import strategies as st

from libs.common.contracts.input import Input
from libs.common.contracts.money import exponent
from libs.common.contracts.records import Envelope, decode
from services.metrics.decider import MetricsDecider
from services.metrics.domain import evolve as metrics
from services.metrics.domain import state as metrics_state
from services.metrics.domain.decide import decide
from services.metrics.domain.purchase_days import purchase_days_of
from services.metrics.settings import Settings
from services.rewards import inputs
from tests.unit.profile.world import World, said
from tests.unit.rewards.history import Customer as Member
from tests.unit.rewards.history import input as rewards_input
from tests.unit.rewards.history import programme

ONE_PER_UNIT = programme(earning=[{"id": "unit", "earn": {"per": 1, "points": 1, "of": "revenue"}}])
LAST: dict[str, Any] = {"userId": "u", "anonymousId": "a"}


@dataclass(frozen=True)
class Refund:
    """What is given back of an order: `units` in its currency or another one, None for all of it."""

    id: str | None
    units: int | None
    foreign: bool


@dataclass(frozen=True)
class Order:
    id: str
    units: int | None
    currency: str
    refunds: tuple[Refund, ...]
    cancelled: bool


@dataclass(frozen=True)
class Said:
    """An event, as often as it is sent with another messageId: by the user, or by a device that turns out to be theirs."""

    event: str
    properties: dict[str, Any]

    def value(self, message: int, minute: int, device: bool) -> bytes:
        who = {"anonymousId": "a"} if device else {"userId": "u"}
        return said(f"m{message}", minute=minute, event=self.event, properties=self.properties, **who)


refunds = st.builds(
    Refund, st.sampled_from([None, "r0", "r1"]), st.none() | st.integers(0, 60), st.sampled_from([False, False, True])
)
orders = st.builds(
    Order,
    st.sampled_from(["o0", "o1", "7"]),
    st.none() | st.integers(-5, 90),
    st.sampled_from(["USD", "EUR", "JPY", "KWD"]),
    st.lists(refunds, max_size=3, unique_by=lambda refund: refund.id or object()).map(tuple),
    st.sampled_from([False, False, True]),
)


@st.composite
def histories(draw: st.DrawFn) -> tuple[list[Order], list[bytes]]:
    """Orders and what is said of them, in any order: twice, early, by either side of a merge, in every way of writing."""
    placed = draw(st.lists(orders, min_size=1, max_size=3, unique_by=lambda order: order.id))
    events: list[Said] = [Said("Order Refunded", {"revenue": 9}), Said("Order Cancelled", {})]
    for order in placed:
        amount = {} if order.units is None else {draw(st.sampled_from(["revenue", "total"])): order.units}
        completed = Said("Order Completed", {"order_id": order.id, "currency": order.currency, **amount})
        events += [completed] * draw(st.integers(1, 3))
        events += [Said("Order Cancelled", {"order_id": order.id})] * order.cancelled
        for refund in order.refunds:
            events += [
                Said("Order Refunded", _properties(draw, order, refund))
                for _ in range(1 if refund.id is None else draw(st.integers(1, 2)))
            ]
    shuffled = draw(st.permutations(events))
    values = [
        event.value(number, draw(st.integers(0, 9)), draw(st.booleans())) for number, event in enumerate(shuffled)
    ]
    values.insert(draw(st.integers(0, len(values))), said("merge", "identify", **LAST))
    return placed, values


def _properties(draw: st.DrawFn, order: Order, refund: Refund) -> dict[str, Any]:
    found: dict[str, Any] = {"order_id": order.id}
    if refund.id is not None:
        found[draw(st.sampled_from(["refund_id", "return_id"]))] = refund.id
    if refund.units is not None:
        found["revenue"] = refund.units * draw(st.sampled_from([1, -1]))
    if refund.foreign:
        found["currency"] = "GBP"
    elif draw(st.booleans()):
        found["currency"] = order.currency
    return found


@dataclass
class Counted:
    """What a service says of all customers: orders, what is left of them in minor units by currency."""

    orders: int
    net: dict[str, int]


def expected(placed: list[Order]) -> Counted:
    net: Counter[str] = Counter()
    kept = [order for order in placed if not order.cancelled]
    for order in kept:
        paid = max(order.units or 0, 0)
        whole = any(refund.units is None for refund in order.refunds)
        back = sum(refund.units or 0 for refund in order.refunds if not refund.foreign)
        net[order.currency] += (0 if whole else max(paid - back, 0)) * 10 ** exponent(order.currency)
    return Counted(len(kept), {currency: minor for currency, minor in net.items() if minor})


def by_profile(world: World) -> Counted:
    states = [person.state for person in world.living]
    net: Counter[str] = Counter()
    for state in states:
        net.update(state.revenue)
    return Counted(sum(state.completed for state in states), {code: minor for code, minor in net.items() if minor})


def by_metrics(journal: list[tuple[str, Envelope]]) -> Counted:
    decider = MetricsDecider(Settings.model_construct())
    customers: dict[str, metrics_state.Customer] = defaultdict(metrics_state.Customer)
    for key, record in journal:
        if (other := _merged(record)) is not None:
            metrics.absorb(customers[key], customers.pop(other))
        elif (body := decider.read(record, None)) is not None:
            input = _input(record, body)
            metrics.evolve(customers[key], input, decide(customers[key], input, None))
    bought = [each for customer in customers.values() for each in customer.sections.every(metrics_state.ORDER).values()]
    found = [day for purchase in bought for day in purchase_days_of(purchase).items()]
    net: Counter[str] = Counter()
    for of_day, sums in found:
        net[of_day.currency] += sums.net
    return Counted(sum(sums.orders for _, sums in found), {code: minor for code, minor in net.items() if minor})


def points(journal: list[tuple[str, Envelope]]) -> int:
    members: dict[str, Member] = defaultdict(lambda: Member(ONE_PER_UNIT))
    for key, record in journal:
        if (other := _merged(record)) is not None:
            members[key].absorb(members.pop(other))
        elif (body := inputs.read(record)) is not None:
            members[key].tell(rewards_input(record.id, body, time=record.time))
    return sum(member.wallet.balance for member in members.values())


def _merged(record: Envelope) -> str | None:
    if record.type != "customer.merged.v1":
        return None
    return str(UUID(msgspec.json.decode(record.data)["other"]))


def _input(record: Envelope, body: Any) -> Input:
    return Input(record.id, record.type, record.source, record.time, record.recordedtime, 0, False, None, body)


TWICE = {"order_id": "o0", "revenue": -20, "refund_id": "r0"}


@given(histories())
@example(
    (
        [Order("o0", 50, "EUR", (Refund("r0", 20, False),), False)],
        [
            Said("Order Completed", {"order_id": "o0", "revenue": 50, "currency": "EUR"}).value(1, 1, True),
            Said("Order Refunded", TWICE).value(2, 2, True),
            Said("Order Completed", {"order_id": "o0", "revenue": 50, "currency": "EUR"}).value(3, 3, False),
            Said("Order Refunded", TWICE).value(4, 4, False),
            said("merge", "identify", **LAST),
        ],
    )
)
def test_all_services_count_the_same(history: tuple[list[Order], list[bytes]]) -> None:
    placed, values = history
    world = World().tell_all(values)
    journal = [(key, decode(json.dumps(record).encode())) for key, record in world.journal]
    wanted = expected(placed)
    assert by_profile(world) == wanted
    assert by_metrics(journal) == wanted
    assert points(journal) == sum(minor // 10 ** exponent(code) for code, minor in wanted.net.items())
