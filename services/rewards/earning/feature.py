"""Earning: points for what customers do."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Annotated, Any, ClassVar, TypeAlias

from fastapi import APIRouter
from pydantic import Field

from libs.common.contracts.input import Input, Resource
from libs.common.contracts.records import Fact
from libs.common.contracts.rewards import PointsWithheld
from libs.common.fold.handler import DeciderHandler
from libs.common.fold.service import ConsumerService
from libs.common.rules.rule_event import RuleEvent
from services.rewards.course import Course
from services.rewards.earning.api import routes
from services.rewards.earning.budget import CompiledBudget
from services.rewards.earning.rules import CompiledRule, EarningRule, faults_of, points
from services.rewards.feature import Feature, Live
from services.rewards.inputs import OrderCompleted, OrderRefunded
from services.rewards.rules import Workspace, by_name, condition
from services.rewards.validation import Fault, repeated_ids

ByName: TypeAlias = dict[str, list[CompiledRule]]


class Earning(Feature):
    """Gives points for what happened; keeps nothing of its own."""

    name = "earning"
    section = Annotated[list[EarningRule], Field(max_length=200)]
    default: ClassVar[list[EarningRule]] = []

    def faults(self, section: list[EarningRule]) -> Iterator[Fault]:
        yield from repeated_ids("earning", section)
        for index, rule in enumerate(section):
            yield from faults_of(f"earning[{index}]", rule)

    def compile(self, section: list[EarningRule], workspace: Workspace) -> ByName:
        return by_name((rule.on, _compiled(rule, workspace)) for rule in section)

    def names(self, section: list[EarningRule]) -> Iterable[str]:
        return {rule.on for rule in section}

    def shared(self, rules: ByName, body: object, time: datetime, partition: int) -> Iterator[Resource]:
        """The budgets of the rules that are on its name; whether they hold is asked later."""
        yield from (budget.resource(time, partition) for budget in _budgets(rules, body))

    def recorded(self, rules: ByName, input: Input, facts: Sequence[Fact]) -> dict[Resource, int]:
        """By what a fact says was left of a budget. It was enough where none says that something was withheld."""
        left = {fact.rule: fact.left for fact in facts if isinstance(fact, PointsWithheld)}
        found = {}
        for each in _budgets(rules, input.body):
            resource = each.resource(input.time, input.partition)
            points = each.points(resource.part)
            found[resource] = points - left.get(each.rule, points)
        return found

    def decide(self, state: None, course: Course, rules: ByName) -> None:
        """Points for each rule that holds. A refund gives none: it takes back."""
        if course.scope is None or isinstance(course.input.body, OrderRefunded):
            return
        event = course.scope.event
        order = event.order if isinstance(event, OrderCompleted) else None
        for each in rules.get(event.name, ()):
            if each.matches(course.scope):
                _give(course, each, points(each.rule.earn, event), order)

    def api(self, part: ConsumerService, handler: DeciderHandler[Any, Any], live: Live) -> Sequence[APIRouter]:
        return [routes(part, handler, live)]


def _compiled(rule: EarningRule, workspace: Workspace) -> CompiledRule:
    budget = None if rule.budget is None else CompiledBudget(rule.id, rule.budget, workspace)
    return CompiledRule(rule, condition(rule.when), budget)


def _budgets(rules: ByName, body: object) -> list[CompiledBudget]:
    if not isinstance(body, RuleEvent) or isinstance(body, OrderRefunded):
        return []
    return [each.budget for each in rules.get(body.name, ()) if each.budget is not None]


def _give(course: Course, rule: CompiledRule, points: int, order: str | None) -> None:
    """Ask for what a rule gives, as far as its budget goes."""
    if points and rule.budget is not None:
        resource = rule.budget.resource(course.input.time, course.input.partition)
        points, withheld = rule.budget.allow(points, order, resource, course.input.shared)
        if withheld is not None:
            course.facts.append(withheld)
        if points:
            course.takes[resource] = points
    course.credit(rule.rule.id, points, order)
