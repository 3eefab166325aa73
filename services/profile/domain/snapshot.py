"""The snapshot of a customer in a journal record (`libs.common.contracts.records.Snapshot`), written without
decoding traits."""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, NamedTuple
from uuid import UUID

import msgspec

from libs.common.contracts.money import major
from libs.common.contracts.records import Binding
from services.profile.domain.consent import allowed
from services.profile.domain.journey import AsOf
from services.profile.domain.state import Customer, Trait, moment

#: The traits in a snapshot may be this many bytes as JSON.
LARGEST = 8 * 1024
#: At most so many traits that were left out are named, the largest first; `MORE` then says that there are others.
NAMED = 100
LONGEST_NAME = 200
MORE = "…"


class Shown(NamedTuple):
    """The traits in a snapshot, and the names of those that are left out."""

    traits: dict[str, msgspec.Raw]
    cut: list[str]


class _Written(msgspec.Struct, kw_only=True, omit_defaults=True):
    """The fields of `records.Snapshot`, with decimals, and with traits as raw JSON."""

    id: str
    traits: dict[str, Any]
    traits_cut: list[str] = []
    orders: int
    revenue: dict[str, Decimal]
    first_seen: datetime | None
    last_seen: datetime | None
    consent: dict[str, bool] = {}
    segments: list[str] = []
    points: int = 0
    level: str | None = None
    risk_band: str | None = None
    value_band: str | None = None
    channel: str = "direct"
    stage: str = "visitor"
    deselected: bool = False
    bound: Sequence[Binding] = []


_encoder = msgspec.json.Encoder(decimal_format="number")


def size(name: str, trait: Trait) -> int:
    """The bytes of a trait in JSON, with quotes, colon and comma."""
    return (len(name) if name.isascii() else len(name.encode())) + len(trait.value) + 4


def shown(traits: dict[str, Trait]) -> Shown:
    """The traits that fit, without nulls. The largest are left out first; of two of one size, the later by name."""
    held = {name: trait.value for name, trait in traits.items() if not trait.gone}
    total = sum([size(name, traits[name]) for name in held])
    if total <= LARGEST:
        return Shown(held, [])
    cut: list[str] = []
    for name in sorted(held, key=lambda name: (size(name, traits[name]), name), reverse=True):
        if total <= LARGEST:
            break
        total -= size(name, traits[name])
        cut.append(name)
        del held[name]
    named = [name for name in cut if len(name) <= LONGEST_NAME][:NAMED]
    if len(named) < len(cut):
        named.append(MORE)
    return Shown(held, named)


def snapshot(id: UUID, state: Customer, shown: Shown, as_of: AsOf, bound: Sequence[Binding] = ()) -> bytes:
    """A customer's snapshot as bytes. `bound` are the identifiers that the record binds to them."""
    written = _Written(
        id=str(id),
        traits={**shown.traits, **state.computed} if state.computed else shown.traits,
        traits_cut=shown.cut,
        orders=state.completed,
        revenue=revenue(state),
        first_seen=None if state.first is None else moment(state.first),
        last_seen=None if state.last is None else moment(state.last),
        consent=allowed(state.consent) if state.consent else {},
        segments=sorted(state.segments),
        points=state.standing.points,
        level=state.standing.level,
        risk_band=state.standing.risk_band,
        value_band=state.standing.value_band,
        channel=state.channel,
        stage=as_of.stage(state),
        deselected=state.deselected is not None,
        bound=list(bound),
    )
    return _encoder.encode(written)


def revenue(state: Customer) -> dict[str, Decimal]:
    """Net revenue in major units by currency."""
    return {currency: major(minor, currency) for currency, minor in state.revenue.items()}
