"""Badges: earned by doing something so often, and revoked when what earned them is given back."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Annotated, Any, ClassVar

from fastapi import APIRouter
from pydantic import Field

from libs.common.contracts.input import Input
from libs.common.contracts.records import Fact
from libs.common.contracts.rewards import BadgeEarned, BadgeRevoked
from libs.common.fold.handler import DeciderHandler
from libs.common.fold.sections import One, Wanted
from libs.common.fold.service import ConsumerService
from services.rewards.badges import decide
from services.rewards.badges.api import routes
from services.rewards.badges.decide import Counted
from services.rewards.badges.rules import Badge, BadgeRules, CompiledBadge
from services.rewards.badges.state import COUNTED, BadgesHeld
from services.rewards.course import Course, Merging
from services.rewards.feature import Feature, Live
from services.rewards.inputs import OrderRefunded
from services.rewards.rules import Workspace, by_name, condition
from services.rewards.validation import Fault, repeated_ids, wrong_condition


class Badges(Feature):
    """Counts what badges are about. An order counts until it is given back wholly."""

    name = "badges"
    counted = True
    moved_by = (BadgeEarned, BadgeRevoked)
    section = Annotated[list[Badge], Field(max_length=200)]
    default: ClassVar[list[Badge]] = []
    state = BadgesHeld
    sections: ClassVar[dict[str, Any]] = {COUNTED: list[str]}

    def faults(self, section: list[Badge]) -> Iterator[Fault]:
        yield from repeated_ids("badges", section)
        for index, badge in enumerate(section):
            yield from wrong_condition(f"badges[{index}]", badge.id, badge.when)

    def compile(self, section: list[Badge], workspace: Workspace) -> BadgeRules:
        badges = [CompiledBadge(badge, condition(badge.when)) for badge in section]
        return BadgeRules(by_name((each.badge.on, each) for each in badges), {each.badge.id: each for each in badges})

    def names(self, section: list[Badge]) -> Iterable[str]:
        return {badge.on for badge in section}

    def named(self, body: Any) -> Iterator[Wanted]:
        """For what the order counted that may be given back."""
        if isinstance(body, OrderRefunded):
            yield One(COUNTED, body.order)

    def decide(self, state: BadgesHeld, course: Course, rules: BadgeRules) -> Counted:
        return decide.decide(state, course, rules)

    def evolve(self, state: BadgesHeld, input: Input, facts: Sequence[Fact], note: Counted | None) -> None:
        decide.evolve(state, input, facts, note or Counted())

    def merge(self, survivor: BadgesHeld, other: BadgesHeld, merging: Merging) -> None:
        decide.merge(survivor, other, merging)

    def standing(self, state: BadgesHeld) -> dict[str, int]:
        return {badge: held.earned for badge, held in state.progress.items() if held.earned}

    def changes(self, fact: Fact, held: Mapping[str, int]) -> Iterable[tuple[str, int]]:
        if isinstance(fact, BadgeEarned):
            yield fact.badge, 1
        elif isinstance(fact, BadgeRevoked):
            yield fact.badge, -1

    def shown(self, state: BadgesHeld) -> dict[str, Any]:
        return {"badges": dict(sorted(self.standing(state).items()))}

    def api(self, part: ConsumerService, handler: DeciderHandler[Any, Any], live: Live) -> Sequence[APIRouter]:
        return [routes(part, handler, live)]
