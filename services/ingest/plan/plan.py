"""A tracking plan as people write it."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from libs.common.errors import Invalid
from services.ingest.domain.limits import ID
from services.ingest.plan import schemas

MOST = 500
Mode = Literal["observe", "warn", "refuse"]
_EXAMPLE: dict[str, Any] = {
    "unknown": "observe",
    "events": {
        "Order Completed": {
            "mode": "refuse",
            "schema": {
                "type": "object",
                "required": ["order_id", "revenue"],
                "properties": {"order_id": {"type": "string"}, "revenue": {"type": "number", "minimum": 0}},
            },
        }
    },
}


def _storable(name: str) -> str:
    if name != name.strip() or "\0" in name:
        raise ValueError("an event's name has no space around it and no NUL character")
    return name


Name = Annotated[str, Field(min_length=1, max_length=ID), AfterValidator(_storable)]


class PlannedEvent(BaseModel):
    """What an event's `properties` should be; of `Identified` and `Group Joined` it is their `traits`."""

    model_config = ConfigDict(extra="forbid")

    mode: Annotated[Mode, Field(description="count violations; also warn in the answer; or reject the event")] = (
        "observe"
    )
    json_schema: Annotated[
        dict[str, Any],
        Field(
            alias="schema",
            description="JSON Schema, draft 2020-12 unless `$schema` says another; `format` is checked",
        ),
    ]


class TrackingPlan(BaseModel):
    """The events that a source should send. `unknown` is for tracks that the plan does not name."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": _EXAMPLE})

    unknown: Annotated[
        Mode | None, Field(description="null in a source's own plan: as the workspace's says; else as `observe`")
    ] = None
    events: Annotated[dict[Name, PlannedEvent], Field(max_length=MOST)] = {}


def refuse_faulty(plan: TrackingPlan) -> None:
    """Raises Invalid with the place of the first schema that cannot be used."""
    for name, event in plan.events.items():
        try:
            schemas.compiled(event.json_schema)
        except ValueError as error:
            raise Invalid(f"The schema of {name!r} cannot be used: {error}") from None
