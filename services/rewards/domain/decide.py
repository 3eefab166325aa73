"""The rule book: what follows for one customer from what happened. Pure: no clock, no I/O, the account unchanged."""

from collections.abc import Mapping
from datetime import datetime

import msgspec
from msgspec import UNSET, UnsetType, field

from libs.common.contracts.input import Input
from libs.common.contracts.orders import united
from libs.common.contracts.rewards import (
    BadgeEarned,
    BadgeRevoked,
    PointsAdjusted,
    PointsCredited,
    PointsExpired,
    PointsReversed,
)
from libs.common.errors import Conflict
from libs.common.fold import decider as fold
from libs.common.fold.decider import Merged
from libs.common.rules.rule_event import RuleEvent, Scope
from services.rewards.domain import earning, levels
from services.rewards.domain.inputs import Adjust, Expire, OrderCompleted, OrderRefunded
from services.rewards.domain.programme import Badge
from services.rewards.domain.refunds import due, share
from services.rewards.domain.rules import Rules
from services.rewards.domain.state import Account, Item, Order, standing


class Decision(fold.Decision, kw_only=True):
    """The facts that follow, and what was found on the way that is no news: which badges the input `counted` for, the terms of
    those `awarded`; at a merge, what the survivor's badges and level were just after it (`standing`)."""

    counted: list[Badge] = field(default_factory=list)
    awarded: dict[str, Badge] = field(default_factory=dict)
    standing: dict[Item, int] = field(default_factory=dict)


class _Course:
    """A decision in the making: the account as it would be after the facts so far."""

    def __init__(self, account: Account, expires_at: datetime | UnsetType = UNSET) -> None:
        self.account = account
        self.decision = Decision()
        self.expires_at = expires_at
        self.balance = account.balance
        self.qualifying = account.qualifying
        self.moved = False

    def credit(self, rule: str, points: int, order: str | None) -> None:
        self.moved = True
        self.balance += points
        self.qualifying += points
        self.decision.facts.append(
            PointsCredited(points=points, balance=self.balance, rule=rule, order_id=order, expires_at=self.expires_at)
        )

    def take_back(self, order: str, by_rule: Mapping[str, int]) -> None:
        for rule, points in by_rule.items():
            self.moved = True
            self.balance -= points
            self.qualifying -= points
            self.decision.facts.append(PointsReversed(points=points, balance=self.balance, rule=rule, order_id=order))


def decide(account: Account, input: Input, rules: Rules) -> Decision:
    """What follows. Raises Conflict for an adjustment that would make the balance negative."""
    course = _Course(account, rules.expiry(input.time))
    facts = course.decision.facts
    match input.body:
        case OrderCompleted() as order if account.has_counted(order.order):
            return course.decision
        case OrderCompleted() as order:
            _complete(course, order, Scope(order, input), rules)
        case OrderRefunded() as refund:
            _refund(course, refund, rules)
            _count(course, Scope(refund, input), rules)
        case RuleEvent() as event:
            scope = Scope(event, input)
            for rule in rules.credits(scope):
                course.credit(rule.id, earning.points(rule.earn, event), None)
            _count(course, scope, rules)
        case Adjust() as adjust:
            facts.append(_adjusted(account, adjust, course.expires_at))
        case Expire(until):
            if lost := sum(lot.remaining for lot in account.expiring(until)):
                facts.append(PointsExpired(points=lost, balance=account.balance - lost, until=until))
        case Merged():
            course.decision.standing = standing(account)
            _settle(course, rules)
    if course.moved or (isinstance(input.body, Merged) and account.lots):
        change = levels.change(rules.levels, account.level, course.qualifying)
        facts.extend([change] if change else [])
    return course.decision


def _complete(course: _Course, event: OrderCompleted, scope: Scope, rules: Rules) -> None:
    """Credits; less what refunds that came before their order take back of it."""
    account = course.account
    order = completed(account.orders.get(event.order), event)
    given = {rule.id: earning.points(rule.earn, event) for rule in rules.credits(scope)}
    for rule, points in given.items():
        if points:
            course.credit(rule, points, event.order)
    reversed = {rule: share(points, order) for rule, points in given.items()}
    course.take_back(event.order, {rule: points for rule, points in reversed.items() if points})
    if not order.whole:
        _count(course, scope, rules)


def _refund(course: _Course, refund: OrderRefunded, rules: Rules) -> None:
    """What the refund takes back; and the badges that a wholly refunded order had helped to earn."""
    account = course.account
    if not account.has_counted(refund.order):
        return  # it waits for its order
    order = refunded(account.orders[refund.order], refund)
    course.take_back(refund.order, due(account, refund.order, order))
    if order.whole and not order.void:
        _change_badges(course, {badge: -1 for badge in order.badges}, rules)


def _settle(course: _Course, rules: Rules) -> None:
    """After a merge: orders counted twice, and refunds that have met their order."""
    account = course.account
    counts = dict.fromkeys(account.badges, 0)
    doubled = {lot.order for lot in account.lots if lot.double}
    for id, order in account.orders.items():
        if not order.counted or not (order.refunds or id in doubled):
            continue
        course.take_back(id, due(account, id, order))
        if order.whole and not order.void:
            for badge in order.badges:
                counts[badge] -= 1
    _change_badges(course, counts, rules)


def _count(course: _Course, scope: Scope, rules: Rules) -> None:
    counted = course.decision.counted = rules.counts(scope)
    _change_badges(course, {badge.id: +1 for badge in counted}, rules)


def _change_badges(course: _Course, changes: Mapping[str, int], rules: Rules) -> None:
    """Awards that the new counts are worth; revocations of those that they are no longer worth, by the old terms."""
    decision = course.decision
    for id, change in changes.items():
        progress = course.account.progress(id)
        count, have = progress.count + change, progress.earned
        name = id
        if (rule := rules.badge_by_id.get(id)) is not None:
            name = rule.badge.name
            for occurrence in range(have + 1, rule.awards(count) + 1):
                decision.awarded[id] = rule.badge
                decision.facts.append(BadgeEarned(badge=id, name=name, count=count, occurrence=occurrence))
        if change <= 0:
            for occurrence in range(have, progress.kept(count), -1):
                decision.facts.append(BadgeRevoked(badge=id, name=name, occurrence=occurrence))


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


def completed(waiting: Order | None, event: OrderCompleted) -> Order:
    """The order as it is once it has event, with the refunds that waited for it."""
    minor = None if event.money is None else event.money.minor
    return Order(minor, event.currency, True, refunds=dict(waiting.refunds) if waiting else {})


def refunded(order: Order, refund: OrderRefunded) -> Order:
    """The order with one more refund, or one that was known."""
    return msgspec.structs.replace(order, refunds=united(order.refunds, {refund.refund: refund.back}))
