"""The programme: what marketers write, and what is checked before it is kept."""

from collections import Counter
from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Annotated, NamedTuple, Self

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictInt, model_validator
from pydantic.config import JsonDict

from libs.common.contracts.iso_types import Moment
from libs.common.contracts.orders import CANCELLED, COMPLETED, REFUNDED
from libs.common.contracts.records import display_name
from libs.common.contracts.rewards import PointsCredited
from libs.common.contracts.written import Written
from libs.common.errors import Invalid
from libs.common.rules.cel.condition import MAX_LENGTH, ConditionError, compile_condition

_ID = Written(
    "^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$",
    "an id has 1 to 64 letters (a to z), digits, `_`, `.` and `-`, and begins with a letter or a digit, such as two-per-euro",
)
Id = Annotated[str, _ID, Field(examples=["two-per-euro"])]
Name = Annotated[str, Field(min_length=1, max_length=120)]
EventName = Annotated[str, Field(min_length=1, max_length=256, description="what must happen, as marketers call it")]
When = Annotated[
    str | None,
    Field(max_length=MAX_LENGTH, description="CEL over `event` and `customer`; without one, always"),
]
AMOUNTS = ("revenue",)


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class _Identified(_Strict):
    id: Id


class Earn(_Strict):
    """`{"points": 10}` each time, or `{"per": 1, "points": 2, "of": "revenue"}`: for each major unit of an amount.

    The whole amount of the order counts (its `revenue`, else `total`, else the sum of its products), and the points are
    rounded down, once an order.
    """

    points: StrictInt = Field(gt=0, le=1_000_000)
    per: Decimal | None = Field(default=None, ge=Decimal("0.01"), le=1_000_000, decimal_places=4)
    of: str | None = None

    @model_validator(mode="after")
    def _both_or_none(self) -> Self:
        if (self.per is None) != (self.of is None):
            raise ValueError("per and of go together: {per: 1, points: 2, of: revenue} is 2 points per major unit")
        if self.of is not None and self.of not in AMOUNTS:
            raise ValueError(f"{self.of} is no amount that is known; there is {', '.join(AMOUNTS)}")
        return self


class EarningRule(_Identified):
    """Who does `on` (and `when` holds) between the two times, by when it happened, earns points."""

    on: EventName = COMPLETED
    when: When = None
    earn: Earn
    effective_from: Moment | None = Field(default=None, description="the first moment at which it holds")
    effective_to: Moment | None = Field(default=None, description="the first moment at which it no longer holds")


class Points(_Strict):
    """What holds for all points: those not spent within so many days of when they were earned are lost, at the end of the
    day (in the workspace's zone); the oldest are spent first. Without it points are good for ever.
    """

    expire_after_days: StrictInt | None = Field(default=None, ge=1, le=36_500, examples=[365])


class Level(_Identified):
    """Reached with so many qualifying points: those that rules gave, less those that refunds took back."""

    name: Name
    points: StrictInt = Field(ge=0, le=10**12)


class Badge(_Identified):
    """Earned by `count` of `on`; with `repeatable` each time that so many more are reached."""

    name: Name
    on: EventName = COMPLETED
    when: When = None
    count: StrictInt = Field(default=1, ge=1, le=1_000_000)
    repeatable: StrictBool = False


_EXAMPLE: JsonDict = {
    "name": "Rapport Club",
    "earning": [
        {"id": "two-per-euro", "on": "Order Completed", "earn": {"points": 2, "per": 1, "of": "revenue"}},
        {"id": "review", "on": "Review Written", "when": "event.properties.stars >= 3", "earn": {"points": 10}},
    ],
    "levels": [{"id": "silver", "name": "Silver", "points": 100}, {"id": "gold", "name": "Gold", "points": 500}],
    "badges": [{"id": "regular", "name": "Regular", "on": "Order Completed", "count": 5}],
}


class Programme(_Strict):
    """Earning rules, levels and badges: one version of a loyalty programme."""

    model_config = ConfigDict(json_schema_extra={"example": _EXAMPLE})

    name: Name = Field(examples=["Rapport Club"])
    points: Points = Field(default=Points(), description="how long points are good")
    earning: list[EarningRule] = Field(default=[], max_length=200)
    levels: list[Level] = Field(default=[], max_length=50)
    badges: list[Badge] = Field(default=[], max_length=200)

    @property
    def names(self) -> set[str]:
        """Of the events and facts from which something can follow for points or badges. (A merge's records have the name of
        the event that brought two together.)"""
        rules = {rule.on for rule in self.earning} | {badge.on for badge in self.badges}
        return rules | {COMPLETED, REFUNDED, CANCELLED}


class Fault(NamedTuple):
    """What is wrong with a programme, and where: `earning[0].when`."""

    at: str
    message: str
    where: dict[str, object]


def refuse_faulty(programme: Programme) -> None:
    """Raises Invalid that names every fault: each with `at`, the rule's id, and for conditions line and column."""
    faults = list(_faults(programme))
    if not faults:
        return
    said = "; ".join(f"{fault.at}: {fault.message}" for fault in faults[:3])
    more = f"; and {len(faults) - 3} more, see errors" if len(faults) > 3 else ""
    raise Invalid(
        f"The programme cannot be kept: {said}{more}.",
        errors=[{"at": fault.at, "message": fault.message, **fault.where} for fault in faults],
    )


def _faults(programme: Programme) -> Iterator[Fault]:
    yield from _twice("earning", programme.earning)
    yield from _twice("levels", programme.levels)
    yield from _twice("badges", programme.badges)
    for index, rule in enumerate(programme.earning):
        at = f"earning[{index}]"
        yield from _condition(at, rule.id, rule.when)
        if rule.effective_from and rule.effective_to and rule.effective_from >= rule.effective_to:
            message = f"{rule.id} would end ({rule.effective_to.isoformat()}) before it begins"
            yield Fault(f"{at}.effective_to", message, {"id": rule.id})
        if rule.earn.of and rule.on != COMPLETED:
            message = f"only {COMPLETED} has a {rule.earn.of}; {rule.id} is on {rule.on}: give it fixed points"
            yield Fault(f"{at}.earn.of", message, {"id": rule.id})
        if rule.on == display_name(PointsCredited.TYPE):
            yield Fault(f"{at}.on", f"{rule.id} would start itself with the points that it gives", {"id": rule.id})
        if rule.on in (REFUNDED, CANCELLED):
            yield Fault(f"{at}.on", f"{rule.on} takes points back by itself, and gives none", {"id": rule.id})
    for index, badge in enumerate(programme.badges):
        yield from _condition(f"badges[{index}]", badge.id, badge.when)
    for points, times in Counter(level.points for level in programme.levels).items():
        if times > 1:
            yield Fault("levels", f"{times} levels begin at {points} points; each needs a number of its own", {})


def _twice(kind: str, listed: Sequence[_Identified]) -> Iterator[Fault]:
    seen: set[str] = set()
    for index, item in enumerate(listed):
        if item.id in seen:
            yield Fault(f"{kind}[{index}].id", f"the id {item.id} is taken by an earlier one", {"id": item.id})
        seen.add(item.id)


def _condition(at: str, id: str, source: str | None) -> Iterator[Fault]:
    if source is None:
        return
    try:
        compile_condition(source)
    except ConditionError as error:
        message = f"the condition of {id} is wrong at line {error.line}, column {error.column}: {error.message}"
        yield Fault(f"{at}.when", message, {"id": id, "line": error.line, "column": error.column})
