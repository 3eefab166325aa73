"""A plan drafted from events that have arrived. Pure."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from libs.common.contracts.events import ClientEvent, event_name
from services.ingest.plan import schemas
from services.ingest.plan.plan import MOST, PlannedEvent, TrackingPlan

ALWAYS = 10  # events of a name, after which what all of them have is taken for required
DEEPEST = 4  # objects and arrays inside each other that are described
WIDEST = 60  # members of an object; one with more is a table of the app's own, whose members are not described

_TYPES: Mapping[type, str] = {
    str: "string",
    bool: "boolean",
    int: "number",  # the next one may be 29.33
    float: "number",
    type(None): "null",
    dict: "object",
    list: "array",
}


class SeenValues:
    """The values that a property has had: their types, and the same of what is in them."""

    def __init__(self, depth: int = 1) -> None:
        self._depth = depth
        self._types: Counter[str] = Counter()
        self._members: dict[str, SeenValues] = {}
        self._items: SeenValues | None = None

    @property
    def count(self) -> int:
        """How many values were seen."""
        return self._types.total()

    def add(self, value: Any) -> None:
        """See one more."""
        self._types[_TYPES[type(value)]] += 1
        if self._depth > DEEPEST:
            return
        if isinstance(value, dict):
            for name, inner in value.items():
                if name in self._members or len(self._members) <= WIDEST:
                    self._members.setdefault(name, SeenValues(self._depth + 1)).add(inner)
        elif isinstance(value, list) and value:
            self._items = self._items or SeenValues(self._depth + 1)
            for inner in value:
                self._items.add(inner)

    def schema(self, deepest: int = DEEPEST) -> dict[str, Any]:
        """What all of them follow; objects and arrays are described down to `deepest`."""
        types = sorted(self._types)
        schema: dict[str, Any] = {"type": types[0] if len(types) == 1 else types}
        if self._depth > deepest:
            return schema
        if self._members and len(self._members) <= WIDEST:
            schema["properties"] = {name: self._members[name].schema(deepest) for name in sorted(self._members)}
            objects = self._types["object"]
            required = [name for name in sorted(self._members) if self._members[name].count == objects >= ALWAYS]
            if required:
                schema["required"] = required
        if self._items is not None:
            schema["items"] = self._items.schema(deepest)
        return schema


class SeenEvents:
    """The events of a sample, by name."""

    def __init__(self) -> None:
        self._events: dict[str, SeenValues] = {}

    def add(self, event: ClientEvent) -> None:
        """See one more."""
        name = event_name(event.type, event.event)
        of_traits = event.type in ("identify", "group")
        self._events.setdefault(name, SeenValues()).add(event.traits if of_traits else event.properties)

    def counts(self) -> dict[str, int]:
        """How often each name was seen, the most frequent first."""
        return dict(Counter({name: seen.count for name, seen in self._events.items()}).most_common())

    def added_to(self, plan: TrackingPlan, planned: Iterable[str] = ()) -> TrackingPlan:
        """The plan with the events that neither it nor `planned` names, as far as it has room for them; each is observed."""
        known = {*plan.events, *planned}
        new = [name for name in self.counts() if name not in known and name == name.strip()]
        added = {name: _planned(self._events[name]) for name in new[: max(0, MOST - len(plan.events))]}
        return plan.model_copy(update={"events": {**plan.events, **added}})


def _planned(seen: SeenValues) -> PlannedEvent:
    for deepest in range(DEEPEST, 0, -1):
        schema = seen.schema(deepest)
        try:
            schemas.compiled(schema)
        except ValueError:  # too large
            continue
        break
    else:
        schema = {"type": "object"}
    return PlannedEvent.model_validate({"schema": schema})
