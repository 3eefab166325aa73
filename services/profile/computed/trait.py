"""The computed trait: what a marketer writes."""

from pydantic import BaseModel, ConfigDict, Field

from libs.common.errors import Invalid
from libs.common.rules.cel.condition import MAX_LENGTH, ConditionError, compile_condition
from libs.common.rules.cel.names import CUSTOMER
from libs.common.rules.cel.nodes import Call
from libs.common.rules.cel.parser import parse
from libs.common.rules.cel.windows import FUNCTIONS, Window
from services.profile.segments.totals import refuse_uncounted


class ComputedTrait(BaseModel):
    """A trait whose value is a window over the customer's events. Conditions and texts use it like any trait:
    `customer.traits.orders_90d`. It takes the place of a trait of the same name that an app sends."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"example": {"name": "orders_90d", "value": "count('Order Completed', days=90)"}},
    )

    name: str = Field(min_length=1, max_length=100, pattern=r"^\S(.*\S)?$", examples=["orders_90d"])
    description: str = Field(default="", max_length=1000)
    value: str = Field(
        max_length=MAX_LENGTH,
        description="one window over events: count, sum, average, first, last, distinct or most_frequent",
        examples=["most_frequent('Product Viewed', 'category', days=30)"],
    )

    @property
    def fixed(self) -> tuple[object, ...]:
        return (self.name,)


def window_of(value: str) -> Window:
    """The window that a computed trait's `value` stands for. Raises ConditionError when it is not one window alone."""
    root = parse(value)
    if not (isinstance(root, Call) and root.target is None and root.function in FUNCTIONS):
        raise ConditionError("write one window over events, such as count('Order Completed', days=30)", 1, 1)
    return compile_condition(f"{value} != null", CUSTOMER).windows[0]


def refuse_faulty(trait: ComputedTrait) -> None:
    """Raises Invalid when `value` is no window that can be kept."""
    try:
        refuse_uncounted(trait.value, [window_of(trait.value)])
    except ConditionError as error:
        raise Invalid(
            f"The computed trait cannot be saved: value: {error.message}.",
            errors=[{"at": "value", "message": error.message}],
        ) from None
