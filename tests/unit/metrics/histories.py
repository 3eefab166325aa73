"""Random histories of one customer: orders, refunds and cancellations, some repeated, some contradicting each other."""

from collections.abc import Callable
from datetime import date, timedelta

from hypothesis import strategies as st

from libs.common.contracts.money import Money
from libs.common.contracts.orders import Back
from services.metrics.domain.purchases import Purchases

Event = Callable[[Purchases], None]

START = date(2024, 2, 20)

_order = st.sampled_from(["o1", "o2", "o3", "o4", "o5", "o6"])
_minor = st.integers(0, 3000)
_currency = st.sampled_from(["USD", "USD", "USD", "EUR"])
_back = st.none() | st.builds(Money, _minor, _currency) | st.decimals(0, 30, places=2)
days = st.integers(0, 30).map(lambda days: START + timedelta(days=days))


def _completed(order: str, day: date, minor: int, currency: str) -> Event:
    return lambda purchases: purchases.complete(order, day, minor, currency)


def _refunded(order: str, refund: str, back: Back) -> Event:
    return lambda purchases: purchases.refund(order, refund, back)


def _cancelled(order: str) -> Event:
    return lambda purchases: purchases.cancel(order)


events: st.SearchStrategy[Event] = st.one_of(
    st.builds(_completed, _order, days, _minor, _currency),
    st.builds(_completed, _order, days, _minor, _currency),
    st.builds(_refunded, _order, st.sampled_from(["r1", "r2", "r3"]), _back),
    st.builds(_cancelled, _order),
)
histories = st.lists(events, max_size=14)


def purchases_of(history: list[Event]) -> Purchases:
    """The purchases of a customer after these events, in this order."""
    purchases = Purchases()
    for event in history:
        event(purchases)
    return purchases
