"""The programme: one document with a section for each feature, checked by that feature, and published whole."""

from collections.abc import Iterator
from typing import Annotated, Any, NamedTuple, cast

from pydantic import ConfigDict, Field, create_model
from pydantic.config import JsonDict

from libs.common.errors import Invalid
from libs.common.rules.rule_event import RuleEvent
from services.rewards.features import FEATURES
from services.rewards.inputs import ALWAYS_READ
from services.rewards.rules import UTC_ALONE, Section, Workspace
from services.rewards.validation import Fault

_EXAMPLE: JsonDict = {
    "name": "Rapport Club",
    "earning": [
        {"id": "two-per-euro", "on": "Order Completed", "earn": {"points": 2, "per": 1, "of": "revenue"}},
        {"id": "review", "on": "Review Written", "when": "event.properties.stars >= 3", "earn": {"points": 10}},
    ],
    "levels": [{"id": "silver", "name": "Silver", "points": 100}, {"id": "gold", "name": "Gold", "points": 500}],
    "badges": [{"id": "regular", "name": "Regular", "on": "Order Completed", "count": 5}],
}
#: The features that have a section, by its key.
SECTIONS = {feature.section_key: feature for feature in FEATURES if feature.section is not None}


class _Named(Section):
    model_config = ConfigDict(
        json_schema_extra={"example": {name: part for name, part in _EXAMPLE.items() if name in ("name", *SECTIONS)}}
    )

    name: Annotated[str, Field(min_length=1, max_length=120, examples=["Rapport Club"])]


#: One version of a loyalty programme: its name, and a section for each feature.
Programme: Any = create_model(
    "Programme",
    __base__=_Named,
    __doc__="One version of a loyalty programme: its name, and a section for each feature.",
    __module__=__name__,
    **cast("dict[str, Any]", {key: (feature.section, feature.default) for key, feature in SECTIONS.items()}),
)


class Rules(NamedTuple):
    """The programme in force, compiled once for each rulebook: the sections by feature, and the names that they use."""

    sections: dict[str, Any]
    names: frozenset[str]

    def concern(self, event: RuleEvent) -> bool:
        """Whether anything can follow from it: orders and refunds are always kept, the rest is what a rule names."""
        return type(event) is not RuleEvent or event.name in self.names


def compiled(programme: Any, workspace: Workspace = UTC_ALONE) -> Rules:
    """The rules of a programme. Raises ConditionError for a condition that `refuse_faulty` would have refused."""
    sections = {feature.name: feature.compile(getattr(programme, key), workspace) for key, feature in SECTIONS.items()}
    return Rules(sections, frozenset(names(programme)))


def names(programme: Any) -> set[str]:
    """The names of the events and facts from which something can follow. (A merge's records have the name of the event that
    brought two customers together.)"""
    used = {name for key, feature in SECTIONS.items() for name in feature.names(getattr(programme, key))}
    return used | set(ALWAYS_READ)


#: Before the first programme is published.
NO_RULES = compiled(Programme(name="none"))


def refuse_faulty(programme: Any) -> None:
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


def _faults(programme: Any) -> Iterator[Fault]:
    for key, feature in SECTIONS.items():
        yield from feature.faults(getattr(programme, key))
