"""What must come of a workload, by rules written down once more here, from their description and not from the code.

Nothing in it depends on the order in which things arrived: that is the point of it.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from decimal import Decimal

from tests.faults.answers import Answer, Whole
from tests.faults.shop import (
    BADGES,
    BONUS,
    BONUS_ABOVE,
    BUYERS,
    DECIMALS,
    LEVELS,
    POINTS_PER_MAJOR,
    REVIEW_POINTS,
    RICH,
    WEBHOOK_ABOVE,
)
from tests.faults.workload import Adjust, Person, Said, Workload

COMPLETED, REFUNDED, CANCELLED, REVIEW = "Order Completed", "Order Refunded", "Order Cancelled", "Review Written"


def expected(workload: Workload, adjusted: Sequence[Adjust]) -> Whole:
    """What the platform must say once everything has been read, and the poison mended and replayed."""
    said = workload.events.values()
    people = [
        _person(person, [each for each in said if each.person == person.number], adjusted) for person in workload.people
    ]
    hooked = (each.message for each in said if each.event == COMPLETED and _amount(each) > WEBHOOK_ABOVE)
    return Whole(
        people,
        journalled=Counter(workload.events.keys()),
        dead=frozenset((each.poison, each.message) for each in workload.poison),
        totals=_totals(people, len(workload.events)),
        ids=Counter(hooked),
    )


class _Order:
    """One order with all that was said of it, as one service (where that matters) counts it."""

    def __init__(self, said: Iterable[Said], service: str = "") -> None:
        said = list(said)
        self.done = next((each for each in said if each.event == COMPLETED), None)
        self.cancelled = any(each.event == CANCELLED for each in said)
        refunds = [each for each in said if each.event == REFUNDED]
        self.currency = said[0].currency
        self.minor = 0 if self.done is None else _minor(self.done.stated(service), self.currency)
        back = sum(_minor(each.amount, self.currency) for each in refunds)
        self.whole = self.cancelled or any(each.amount is None for each in refunds) or 0 < self.minor <= back
        self.back = self.minor if self.whole else back

    def kept(self, points: int) -> int:
        """What is left of the points that the order gave: in proportion, rounded for the customer, nothing if whole."""
        return 0 if self.whole else points - points * self.back // (self.minor or 1)


def _person(person: Person, said: Sequence[Said], adjusted: Sequence[Adjust]) -> Answer:
    answer = Answer(frozenset(person.refs), person.user, active=frozenset(_day(each) for each in said))
    by_order: dict[str, list[Said]] = defaultdict(list)
    for each in said:
        if each.order is not None:
            by_order[each.order].append(each)
    answer.traits = _traits(said)
    reviews = [each for each in said if each.event == REVIEW]
    answer.inbox = Counter(each.message for each in reviews)
    answer.webhooks = Counter(
        each.message for each in said if each.event == COMPLETED and _amount(each) > WEBHOOK_ABOVE
    )
    for id, told in by_order.items():
        _purchase(answer, _Order(told))
        _earn(answer, id, _Order(told, "rewards"))
    if reviews:
        answer.booked[None, "review"] = REVIEW_POINTS * len(reviews)
    answer.booked = {place: points for place, points in answer.booked.items() if points}
    answer.qualifying = sum(answer.booked.values())
    answer.adjusted = sum(each.points for each in adjusted if each.person == person.number)
    answer.balance = answer.qualifying + answer.adjusted
    reached = [id for id, points in LEVELS if points <= answer.qualifying]
    answer.level = reached[-1] if reached else None
    kept = sum(not _Order(told, "rewards").whole for told in by_order.values() if _is_done(told))
    answer.points, answer.reviews = answer.balance, len(reviews)
    bought = sum(each.event == COMPLETED for each in said)
    inside = {"buyers": bought >= BUYERS, "rich": answer.balance >= RICH, "critics": bool(reviews)}
    answer.segments = frozenset(name for name, holds in inside.items() if holds)
    answer.badges = _badges({COMPLETED: kept, REVIEW: len(reviews)})
    return answer


def _purchase(answer: Answer, order: _Order) -> None:
    """What profile and metrics count of an order: nothing once it is cancelled, nor before it happened."""
    if order.done is None or order.cancelled:
        return
    left = order.minor - min(order.back, order.minor)
    answer.orders += 1
    decimals = DECIMALS[order.currency]
    answer.revenue[order.currency] = answer.revenue.get(order.currency, Decimal(0)) + Decimal(left).scaleb(-decimals)
    place = (_day(order.done), order.currency)
    orders, net, back = answer.days.get(place, (0, 0, 0))
    answer.days[place] = (orders + 1, net + left, back + order.minor - left)


def _earn(answer: Answer, id: str, order: _Order) -> None:
    if order.done is None:
        return
    major = Decimal(order.minor).scaleb(-DECIMALS[order.currency])
    answer.booked[id, "spend"] = order.kept(int(major * POINTS_PER_MAJOR))
    if major > BONUS_ABOVE:
        answer.booked[id, "big"] = order.kept(BONUS)


def _badges(counts: dict[str, int]) -> dict[str, int]:
    earned = {id: counts[on] // every for id, (on, every, _) in BADGES.items()}
    return {id: times if BADGES[id][2] else 1 for id, times in earned.items() if times}


def _traits(said: Sequence[Said]) -> dict[str, object]:
    """What was said last of each, by when it was said; null takes it away."""
    told = {name: value for each in sorted(said, key=lambda each: each.at) for name, value in each.traits.items()}
    return {name: value for name, value in told.items() if value is not None}


def _totals(people: Sequence[Answer], events: int) -> dict[str, int]:
    """What the services' summaries gain."""
    found: Counter[str] = Counter(
        {
            "customers": len(people),
            "identified": sum(each.user is not None for each in people),
            "events": events,
            "orders": sum(each.orders for each in people),
            "buyers": sum(bool(each.days) for each in people),
            "balance": sum(each.balance for each in people),
            "adjusted": sum(each.adjusted for each in people),
        }
    )
    for each in people:
        found.update({f"badge {id}": times for id, times in each.badges.items()})
        found.update({f"level {each.level}": 1} if each.level else {})
        for (_, currency), (_, net, back) in each.days.items():
            found.update({f"revenue {currency}": net, f"refunded {currency}": back})
    return {name: count for name, count in found.items() if count}


def _is_done(told: Sequence[Said]) -> bool:
    return any(each.event == COMPLETED for each in told)


def _amount(said: Said) -> Decimal:
    return said.stated() or Decimal(0)


def _minor(amount: Decimal | None, currency: str) -> int:
    return 0 if amount is None else int(amount.scaleb(DECIMALS[currency]))


def _day(said: Said) -> str:
    return said.at.date().isoformat()
