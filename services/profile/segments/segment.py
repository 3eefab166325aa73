"""The segment: what a marketer writes."""

from typing import Self

from pydantic import BaseModel, ConfigDict, Field, StrictBool, model_validator

from libs.common.errors import Invalid
from libs.common.rules.cel.condition import MAX_LENGTH, ConditionError, compile_condition
from libs.common.rules.cel.names import CUSTOMER
from services.profile.segments.totals import refuse_uncounted


class Segment(BaseModel):
    """Customers who meet a condition, or (`static`) those of a list that is uploaded. Conditions of hooks and earning rules
    ask for it by its name: `'loyal' in customer.segments`."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"example": {"name": "loyal", "when": "count('Order Completed', days=90) >= 3"}},
    )

    name: str = Field(min_length=1, max_length=100, pattern=r"^\S(.*\S)?$", examples=["loyal"])
    description: str = Field(default="", max_length=1000)
    when: str | None = Field(
        default=None,
        max_length=MAX_LENGTH,
        description="CEL over `customer`, with windows over their events",
        examples=["count('Order Completed', days=30) >= 3 && customer.traits.plan == 'gold'"],
    )
    static: StrictBool = Field(default=False, description="its members are uploaded, not found by a condition")

    @model_validator(mode="after")
    def _either(self) -> Self:
        if self.static == (self.when is not None):
            raise ValueError("a segment has a condition in `when`, or is `static`")
        return self

    @property
    def fixed(self) -> tuple[object, ...]:
        return self.name, self.static


def refuse_faulty(segment: Segment) -> None:
    """Raises Invalid, with line and column, when the condition does not compile."""
    if segment.when is None:
        return
    try:
        refuse_uncounted(segment.when, compile_condition(segment.when, CUSTOMER).windows)
    except ConditionError as error:
        raise Invalid(
            f"The segment cannot be saved: when at line {error.line}, column {error.column}: {error.message}.",
            errors=[{"at": "when", "message": error.message, "line": error.line, "column": error.column}],
        ) from None
