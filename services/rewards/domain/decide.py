"""The rule book: what follows for one customer from what happened. Pure: no clock, no I/O, the account unchanged."""

from collections.abc import Mapping
from datetime import datetime

import msgspec
from msgspec import UNSET, UnsetType

from libs.common.contracts.records import Fact
from libs.common.contracts.rewards import (
    BadgeEarned,
    BadgeRevoked,
    PointsAdjusted,
    PointsCredited,
    PointsExpired,
    PointsReversed,
)
from libs.common.errors import Conflict
from libs.common.fold.decider import Cause, Merged
from libs.common.rules.rule_event import Happened
from services.rewards.domain import earning, levels
from services.rewards.domain.causes import Adjust, Expire, OrderCompleted, OrderRefunded
from services.rewards.domain.programme import Badge
from services.rewards.domain.refunds import due, share
from services.rewards.domain.rules import Rules
from services.rewards.domain.state import Account, Order, Refund


class Decision(list[Fact]):
    """The facts that follow, and what was found on the way that is no news: which badges the cause `counted` for, and
    the terms of those `awarded`."""

    def __init__(self, account: Account, expires_at: datetime | UnsetType = UNSET) -> None:
        super().__init__()
        self.account = account
        self.expires_at = expires_at
        self.balance = account.balance
        self.qualifying = account.qualifying
        self.moved = False
        self.counted: list[Badge] = []
        self.awarded: dict[str, Badge] = {}

    def credit(self, rule: str, points: int, order: str | None) -> None:
        self.moved = True
        self.balance += points
        self.qualifying += points
        self.append(
            PointsCredited(points=points, balance=self.balance, rule=rule, order_id=order, expires_at=self.expires_at)
        )

    def take_back(self, order: str, by_rule: Mapping[str, int]) -> None:
        for rule, points in by_rule.items():
            self.moved = True
            self.balance -= points
            self.qualifying -= points
            self.append(PointsReversed(points=points, balance=self.balance, rule=rule, order_id=order))


def decide(account: Account, cause: Cause, rules: Rules) -> list[Fact]:
    """What follows. Raises Conflict for an adjustment that would make the balance negative."""
    decision = Decision(account, rules.expiry(cause.time))
    match cause.body:
        case OrderCompleted() as order if account.has_counted(order.order):
            return decision
        case OrderCompleted() as order:
            _complete(decision, order, cause, rules)
        case OrderRefunded() as refund:
            _refund(decision, refund, cause, rules)
            _count(decision, refund, cause, rules)
        case Happened() as happened:
            for rule in rules.credits(happened, cause):
                decision.credit(rule.id, earning.points(rule.earn, happened), None)
            _count(decision, happened, cause, rules)
        case Adjust() as adjust:
            decision.append(_adjusted(account, adjust, decision.expires_at))
        case Expire(until):
            if lost := sum(lot.remaining for lot in account.expiring(until)):
                decision.append(PointsExpired(points=lost, balance=account.balance - lost, until=until))
        case Merged():
            _settle(decision, rules)
    if decision.moved or (isinstance(cause.body, Merged) and account.lots):
        change = levels.change(rules.levels, account.level, decision.qualifying)
        decision.extend([change] if change else [])
    return decision


def _complete(decision: Decision, happened: OrderCompleted, cause: Cause, rules: Rules) -> None:
    """Credits; less what refunds that came before their order take back of it."""
    account = decision.account
    order = completed(account.orders.get(happened.order), happened)
    given = {rule.id: earning.points(rule.earn, happened) for rule in rules.credits(happened, cause)}
    for rule, points in given.items():
        if points:
            decision.credit(rule, points, happened.order)
    reversed = {rule: share(points, order) for rule, points in given.items()}
    decision.take_back(happened.order, {rule: points for rule, points in reversed.items() if points})
    if not order.whole:
        _count(decision, happened, cause, rules)


def _refund(decision: Decision, refund: OrderRefunded, cause: Cause, rules: Rules) -> None:
    """What the refund takes back; and the badges that a wholly refunded order had helped to earn."""
    account = decision.account
    if not account.has_counted(refund.order):
        return  # it waits for its order
    order = refunded(account.orders[refund.order], refund, cause.id)
    decision.take_back(refund.order, due(account, refund.order, order))
    if order.whole and not order.void:
        _change_badges(decision, {badge: -1 for badge in order.badges}, rules)


def _settle(decision: Decision, rules: Rules) -> None:
    """After a merge: orders counted twice, and refunds that have met their order."""
    account = decision.account
    counts = dict.fromkeys(account.badges, 0)
    doubled = {lot.order for lot in account.lots if lot.double}
    for id, order in account.orders.items():
        if not order.counted or not (order.refunds or id in doubled):
            continue
        decision.take_back(id, due(account, id, order))
        if order.whole and not order.void:
            for badge in order.badges:
                counts[badge] -= 1
    _change_badges(decision, counts, rules)


def _count(decision: Decision, happened: Happened, cause: Cause, rules: Rules) -> None:
    decision.counted = rules.counts(happened, cause)
    _change_badges(decision, {badge.id: +1 for badge in decision.counted}, rules)


def _change_badges(decision: Decision, changes: Mapping[str, int], rules: Rules) -> None:
    """Awards that the new counts are worth; revocations of those that they are no longer worth, by the old terms."""
    for id, change in changes.items():
        progress = decision.account.progress(id)
        count, have = progress.count + change, progress.earned
        name = id
        if (rule := rules.badge_by_id.get(id)) is not None:
            name = rule.badge.name
            for occurrence in range(have + 1, rule.awards(count) + 1):
                decision.awarded[id] = rule.badge
                decision.append(BadgeEarned(badge=id, name=name, count=count, occurrence=occurrence))
        if change <= 0:
            for occurrence in range(have, progress.kept(count), -1):
                decision.append(BadgeRevoked(badge=id, name=name, occurrence=occurrence))


def _adjusted(account: Account, adjust: Adjust, expires_at: datetime | UnsetType) -> PointsAdjusted:
    balance = account.balance + adjust.points
    if adjust.points < 0 and balance < 0:
        raise Conflict(
            f"the customer has {account.balance} points, so {-adjust.points} cannot be taken: take {account.balance} at most"
            if account.balance > 0
            else f"the customer has {account.balance} points, so none can be taken"
        )
    expires = expires_at if adjust.points > 0 else UNSET
    return PointsAdjusted(points=adjust.points, balance=balance, reason=adjust.reason, expires_at=expires)


def completed(waiting: Order | None, happened: OrderCompleted) -> Order:
    """The order as it is once it has happened, with the refunds that waited for it."""
    minor = None if happened.money is None else happened.money.minor
    return Order(minor, happened.currency, True, refunds=dict(waiting.refunds) if waiting else {})


def refunded(order: Order, refund: OrderRefunded, id: str) -> Order:
    """The order with one more refund."""
    return msgspec.structs.replace(order, refunds={**order.refunds, id: Refund(refund.minor, refund.currency)})
