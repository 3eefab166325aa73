"""Earning: points for what customers do."""

from collections.abc import Iterable, Iterator
from datetime import tzinfo
from typing import Annotated, ClassVar

from pydantic import Field

from services.rewards.course import Course
from services.rewards.earning.rules import CompiledRule, EarningRule, faults_of, points
from services.rewards.feature import Feature
from services.rewards.inputs import OrderCompleted, OrderRefunded
from services.rewards.rules import Fault, by_name, condition, repeated_ids


class Earning(Feature):
    """Gives points for what happened; keeps nothing of its own."""

    name = "earning"
    section = Annotated[list[EarningRule], Field(max_length=200)]
    default: ClassVar[list[EarningRule]] = []

    def faults(self, section: list[EarningRule]) -> Iterator[Fault]:
        yield from repeated_ids("earning", section)
        for index, rule in enumerate(section):
            yield from faults_of(f"earning[{index}]", rule)

    def compile(self, section: list[EarningRule], zone: tzinfo) -> dict[str, list[CompiledRule]]:
        return by_name((rule.on, CompiledRule(rule, condition(rule.when))) for rule in section)

    def names(self, section: list[EarningRule]) -> Iterable[str]:
        return {rule.on for rule in section}

    def decide(self, state: None, course: Course, rules: dict[str, list[CompiledRule]]) -> None:
        """Points for each rule that holds. A refund gives none: it takes back."""
        if course.scope is None or isinstance(course.input.body, OrderRefunded):
            return
        event = course.scope.event
        order = event.order if isinstance(event, OrderCompleted) else None
        for each in rules.get(event.name, ()):
            if each.matches(course.scope):
                course.credit(each.rule.id, points(each.rule.earn, event), order)
