"""The badges of a programme."""

from dataclasses import dataclass

from pydantic import Field, StrictBool, StrictInt

from libs.common.contracts.orders import COMPLETED
from libs.common.rules.cel.condition import Condition
from libs.common.rules.rule_event import Scope
from services.rewards.badges.state import awards
from services.rewards.rules import EventName, Identified, Name, When, holds


class Badge(Identified):
    """Earned by `count` of `on`; with `repeatable` each time that so many more are reached."""

    name: Name
    on: EventName = COMPLETED
    when: When = None
    count: StrictInt = Field(default=1, ge=1, le=1_000_000)
    repeatable: StrictBool = False


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
class BadgeRules:
    """The badges in force, by the name of what they count and by id."""

    by_event: dict[str, list[CompiledBadge]]
    by_id: dict[str, CompiledBadge]

    def counts(self, scope: Scope) -> list[Badge]:
        """The badges that what happened counts for."""
        return [each.badge for each in self.by_event.get(scope.event.name, ()) if each.matches(scope)]
