"""Levels: the qualifying points that rules gave, less those that refunds took back, reach one of them."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Annotated, Any, ClassVar

import msgspec
from fastapi import APIRouter
from pydantic import Field

from libs.common.contracts.input import Input
from libs.common.contracts.records import Fact
from libs.common.contracts.rewards import LevelReached
from libs.common.fold.decider import Merged
from libs.common.fold.handler import DeciderHandler
from libs.common.fold.service import ConsumerService
from services.rewards.course import Course, Merging
from services.rewards.feature import Feature, Live
from services.rewards.levels.api import routes
from services.rewards.levels.rules import Level, change_of
from services.rewards.rules import Workspace
from services.rewards.validation import Fault, repeated_ids


class Reached(msgspec.Struct, omit_defaults=True):
    """The level that a customer is in; None below the lowest."""

    level: str | None = None


class Levels(Feature):
    """Says when a customer's qualifying points lie in another level."""

    name = "levels"
    counted = True
    moved_by = (LevelReached,)
    section = Annotated[list[Level], Field(max_length=50)]
    default: ClassVar[list[Level]] = []
    state = Reached

    def faults(self, section: list[Level]) -> Iterator[Fault]:
        yield from repeated_ids("levels", section)
        for points, times in Counter(level.points for level in section).items():
            if times > 1:
                yield Fault("levels", f"{times} levels begin at {points} points; each needs a number of its own", {})

    def compile(self, section: list[Level], workspace: Workspace) -> tuple[Level, ...]:
        return tuple(sorted(section, key=lambda level: level.points))

    def decide(self, state: Reached, course: Course, rules: tuple[Level, ...]) -> None:
        """Looks again whenever points have moved, and after a merge of somebody who has any."""
        if course.moved or (isinstance(course.input.body, Merged) and course.has_points):
            change = change_of(rules, state.level, course.qualifying)
            course.facts.extend([change] if change else [])

    def evolve(self, state: Reached, input: Input, facts: Sequence[Fact], note: None) -> None:
        for fact in facts:
            if isinstance(fact, LevelReached):
                state.level = fact.level or None

    def merge(self, survivor: Reached, other: Reached, merging: Merging) -> None:
        """The level of whoever had more points; what the sum of both reaches is decided right after."""
        if merging.others_qualifying > merging.qualifying:
            survivor.level = other.level

    def standing(self, state: Reached) -> dict[str, int]:
        return {} if state.level is None else {state.level: 1}

    def changes(self, fact: Fact, held: Mapping[str, int]) -> Iterable[tuple[str, int]]:
        if isinstance(fact, LevelReached):
            yield from [(level, -count) for level, count in held.items() if count]
            if fact.level:
                yield fact.level, 1

    def shown(self, state: Reached) -> dict[str, Any]:
        return {"level": state.level}

    def api(self, part: ConsumerService, handler: DeciderHandler[Any, Any], live: Live) -> Sequence[APIRouter]:
        return [routes(part, handler, live)]
