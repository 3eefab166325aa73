"""What a merge would make of the survivor, and what contradicts each other. Pure."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import msgspec

from libs.common.contracts.consent import Status, parts_of
from services.profile.domain import evolve
from services.profile.domain.consent import statuses
from services.profile.domain.identity import LoadedCustomer, WorkingSet
from services.profile.domain.state import ORDER, Customer, Trait

#: At most so many orders of both are named.
NAMED = 100


class _Side(NamedTuple):
    """One of the two customers before the merge, as far as contradictions go."""

    user: str | None
    traits: dict[str, Trait]
    consent: Mapping[str, Status]

    @classmethod
    def of(cls, state: Customer) -> "_Side":
        return cls(state.user, dict(state.traits), statuses(state.consent))


class Preview(NamedTuple):
    """`identifiers` are those that would come along. `conflicts` says for each contradiction what would hold."""

    identifiers: list[str]
    conflicts: dict[str, Any]


def preview(working_set: WorkingSet, survivor: LoadedCustomer, other: LoadedCustomer) -> Preview:
    """Merge the loaded customers, whose `needed` sections are there, in memory: do not save them."""
    keep, absorb = _Side.of(survivor.state), _Side.of(other.state)
    ours, identifiers = survivor.state.sections, sorted(other.state.identifiers)
    orders = [id for id in other.state.sections.every(ORDER) if ours.get(ORDER, id) is not None]
    evolve.merge(working_set, survivor, other)
    return Preview(
        identifiers,
        {
            "user_ids": [keep.user, absorb.user] if keep.user and absorb.user else [],
            "traits": list(_traits(keep, absorb, survivor.state.traits)),
            "consents": list(_consents(keep, absorb, statuses(survivor.state.consent))),
            "orders": orders[:NAMED],
        },
    )


def _traits(keep: _Side, absorb: _Side, after: Mapping[str, Trait]) -> Iterator[dict[str, Any]]:
    for name in sorted(keep.traits.keys() & absorb.traits.keys()):
        ours, theirs = keep.traits[name], absorb.traits[name]
        if ours.text != theirs.text:
            held = after.get(name)
            result = None if held is None else _value(held)
            yield {"name": name, "keep": _value(ours), "absorb": _value(theirs), "result": result}


def _consents(keep: _Side, absorb: _Side, after: Mapping[str, Status]) -> Iterator[dict[str, Any]]:
    for key in sorted(keep.consent.keys() & absorb.consent.keys()):
        ours, theirs = keep.consent[key], absorb.consent[key]
        if ours != theirs:
            purpose, channel = parts_of(key)
            both = {"keep": ours, "absorb": theirs, "result": after.get(key)}
            yield {"purpose": purpose, "channel": channel, **both}


def _value(trait: Trait) -> Any:
    return msgspec.json.decode(trait.value)
