"""A programme as the fold uses it: compiled once for each rulebook, found by the name of what happened."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, tzinfo
from typing import TypeVar

from msgspec import UNSET, UnsetType

from libs.common.rules.cel.condition import Condition, compile_condition
from libs.common.rules.rule_event import RuleEvent, Scope
from services.rewards.domain.programme import Badge, EarningRule, Level, Programme
from services.rewards.domain.state import awards


@dataclass(frozen=True, slots=True)
class CompiledRule:
    """An earning rule with its condition compiled."""

    rule: EarningRule
    condition: Condition | None

    def matches(self, scope: Scope) -> bool:
        return self._effective(scope.input.time) and holds(self.condition, scope)

    def _effective(self, time: datetime) -> bool:
        begins, ends = self.rule.effective_from, self.rule.effective_to
        return (begins is None or begins <= time) and (ends is None or time < ends)


@dataclass(frozen=True, slots=True)
class CompiledBadge:
    """A badge with its condition compiled."""

    badge: Badge
    condition: Condition | None

    def matches(self, scope: Scope) -> bool:
        return holds(self.condition, scope)

    def awards(self, count: int) -> int:
        return awards(count, self.badge.count, self.badge.repeatable)


@dataclass(frozen=True, slots=True)
class Rules:
    """The programme in force. Empty before the first is published."""

    earning: dict[str, list[CompiledRule]] = field(default_factory=dict)
    badges: dict[str, list[CompiledBadge]] = field(default_factory=dict)
    badge_by_id: dict[str, CompiledBadge] = field(default_factory=dict)
    levels: tuple[Level, ...] = ()
    """From the lowest."""
    expire_after_days: int | None = None
    zone: tzinfo = UTC
    """The workspace's."""

    def expiry(self, time: datetime) -> datetime | UnsetType:
        """Until when points that are earned at `time` are good: to the end of a day. UNSET: for ever."""
        if self.expire_after_days is None:
            return UNSET
        day = time.astimezone(self.zone).date() + timedelta(days=self.expire_after_days + 1)
        return datetime(day.year, day.month, day.day, tzinfo=self.zone).astimezone(UTC)

    def concern(self, event: RuleEvent) -> bool:
        """Whether anything can follow from it: orders and refunds are always kept, the rest is what a rule names."""
        return type(event) is not RuleEvent or event.name in self.earning or event.name in self.badges

    def credits(self, scope: Scope) -> list[EarningRule]:
        """The earning rules that hold for what happened."""
        return [each.rule for each in self.earning.get(scope.event.name, ()) if each.matches(scope)]

    def counts(self, scope: Scope) -> list[Badge]:
        """The badges that what happened counts for."""
        return [each.badge for each in self.badges.get(scope.event.name, ()) if each.matches(scope)]


def compiled(programme: Programme, zone: tzinfo = UTC) -> Rules:
    """The rules of a programme. Raises ConditionError for a condition that `refuse_faulty` would have refused."""
    rules = [CompiledRule(rule, _compiled(rule.when)) for rule in programme.earning]
    badges = [CompiledBadge(badge, _compiled(badge.when)) for badge in programme.badges]
    return Rules(
        _by_name((each.rule.on, each) for each in rules),
        _by_name((each.badge.on, each) for each in badges),
        {each.badge.id: each for each in badges},
        tuple(sorted(programme.levels, key=lambda level: level.points)),
        programme.points.expire_after_days,
        zone,
    )


def holds(condition: Condition | None, scope: Scope) -> bool:
    """Whether a condition holds; one that cannot be evaluated does not."""
    return condition is None or condition.evaluate(scope.activation).matched


def _compiled(source: str | None) -> Condition | None:
    return None if source is None else compile_condition(source)


T = TypeVar("T")


def _by_name(named: Iterable[tuple[str, T]]) -> dict[str, list[T]]:
    found: dict[str, list[T]] = {}
    for name, each in named:
        found.setdefault(name, []).append(each)
    return found
