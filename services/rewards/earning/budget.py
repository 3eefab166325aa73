"""The budget of an earning rule: what all customers together may earn by it in a period."""

from collections.abc import Mapping
from datetime import date, datetime
from typing import Literal, NamedTuple

from pydantic import Field, StrictInt

from libs.common.contracts.input import Resource
from libs.common.contracts.rewards import PointsWithheld
from services.rewards.rules import Section, Workspace


class Budget(Section):
    """At most so many points for all customers together: in each day, week (from Monday), month or year of the workspace's
    zone, by when things happened; without `per` in all. What would be more is trimmed to what is left, or refused as a whole.

    It belongs to the rule's id, in whatever version. Refunds do not give back to it.
    """

    points: StrictInt = Field(gt=0, le=10**12, examples=[100_000])
    per: Literal["day", "week", "month", "year"] | None = None
    split: bool = Field(
        default=False,
        description="each partition of the customers has an equal share of its own: where several processes of rewards run, none"
        " waits for another, but what one share has left no other can use",
    )
    when_spent: Literal["trim", "refuse"] = Field(default="trim", description="what becomes of points over the budget")

    def period(self, day: date) -> str:
        """The period in which a day lies, as it is called: 2026-03-01, 2026-W09, 2026-03 or 2026."""
        match self.per:
            case "day":
                return day.isoformat()
            case "week":
                year, week, _ = day.isocalendar()
                return f"{year}-W{week:02}"
            case "month":
                return f"{day:%Y-%m}"
            case "year":
                return f"{day.year}"
        return ""


class Allowed(NamedTuple):
    """What a budget lets through; what it withholds, if anything."""

    points: int
    withheld: PointsWithheld | None = None


class CompiledBudget(NamedTuple):
    """The budget of a rule, with the zone of its periods and the number of its parts."""

    rule: str
    budget: Budget
    workspace: Workspace

    @property
    def parts(self) -> int:
        """How many parts it has: one, or one for each partition."""
        return self.workspace.partitions if self.budget.split else 1

    def points(self, part: int) -> int:
        """What a part may give; all parts together give the budget."""
        points = self.budget.points
        return points * (part + 1) // self.parts - points * part // self.parts

    def resource(self, time: datetime, partition: int) -> Resource:
        """What is drawn on for what happens at `time` to a customer of a partition."""
        period = self.budget.period(time.astimezone(self.workspace.zone).date())
        return Resource("budget", self.rule, period, partition if self.budget.split else 0)

    def allow(self, points: int, order: str | None, resource: Resource, shared: Mapping[Resource, int]) -> Allowed:
        """So many of the points that the rule gives."""
        left = max(self.points(resource.part) - shared.get(resource, 0), 0)
        if points <= left:
            return Allowed(points)
        given = left if self.budget.when_spent == "trim" else 0
        withheld = PointsWithheld(
            points=points - given,
            rule=self.rule,
            order_id=order,
            budget=self.budget.points,
            period=resource.period,
            left=left,
        )
        return Allowed(given, withheld)
