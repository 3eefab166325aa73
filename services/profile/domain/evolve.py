"""How customers change. Nothing here fails, and the result does not depend on the order of events.

- A trait has the value with the latest `time`; of two at one time, the greater JSON text, then source. (One exception: if a
  customer's traits exceed 64 KB, the largest are refused, and do not come back when there is room again.)
- An order counts once, however often it is sent; the earliest event says its amount.
- Refunds add up to at most the order, each once by its id. A refund that comes first waits for its order. A cancelled
  order does not count.
- Of touches the earliest and the latest are kept, by when they happened.
- Of statements about consent the later one wins (`consent`), at a merge too.
"""

from collections.abc import Mapping

import msgspec

from libs.common.contracts.metrics import ScoreChanged
from libs.common.contracts.orders import OrderCancelled, OrderCompleted, OrderEvent, OrderRefunded, united
from libs.common.contracts.records import Binding, Envelope
from libs.common.contracts.rewards import LevelReached, PointsAdjusted, PointsCredited, PointsExpired, PointsReversed
from services.profile.domain.consent import Change, merged
from services.profile.domain.events import Event
from services.profile.domain.identity import LoadedCustomer, Match, Move, WorkingSet
from services.profile.domain.snapshot import size
from services.profile.domain.state import ORDER, TRAITS, Customer, Order, Paid, Trait, micros
from services.profile.domain.touch import Touch, earlier, later

#: Facts on points, and whether their points are added or taken away.
_POINTS = {PointsCredited.TYPE: 1, PointsReversed.TYPE: -1, PointsAdjusted.TYPE: 1, PointsExpired.TYPE: -1}


class _Points(msgspec.Struct):
    points: int


class _Level(msgspec.Struct):
    level: str


class _Bands(msgspec.Struct):
    risk_band: str
    value_band: str


_points = msgspec.json.Decoder(_Points)
_level = msgspec.json.Decoder(_Level)
_bands = msgspec.json.Decoder(_Bands)


def apply_match(working_set: WorkingSet, match: Match) -> list[Binding]:
    """Create a customer and bind identifiers as `match` says. Returns the identifiers that changed."""
    if match.creates:
        working_set.by_id[match.customer] = LoadedCustomer.new(match.customer)
    loaded = working_set.by_id[match.customer]
    return [_bind(working_set, loaded, ref) for ref in match.binds]


def apply_event(loaded: LoadedCustomer, event: Event) -> list[str]:
    """Apply an event to its customer. Returns what may have changed, by the names that conditions use."""
    state, at, changed = loaded.state, micros(event.at), []
    loaded.touched = True
    if state.first is None or at < state.first:
        state.first = at
        changed += ["first_seen", "channel"]
    if state.last is None or at > state.last:
        state.last = at
        changed.append("last_seen")
    if event.traits:
        loaded.note()
        loaded.shown = None
        _identify(state, at, event.source.removeprefix("/apps/"), event.traits)
        changed += ["traits", *(f"traits.{name}" for name in event.traits)]
    if event.touch is not None:
        _touched(state, event.touch, event.touch)
        changed.append("channel")
    if event.purchase is not None:
        loaded.note()
        _purchase(state, at, event.purchase)
        changed += ["orders", "revenue"]
    return changed


def apply_fact(state: Customer, envelope: Envelope) -> list[str]:
    """Apply what another service decided about the customer. Returns which members of `standing` changed.

    Points are added up fact by fact, not read off as a balance: so they are right after a merge, too.
    """
    before = state.standing
    if envelope.type in _POINTS:
        points = _POINTS[envelope.type] * _points.decode(envelope.data).points
        state.standing = msgspec.structs.replace(before, points=before.points + points)
    elif envelope.type == LevelReached.TYPE:
        state.standing = msgspec.structs.replace(before, level=_level.decode(envelope.data).level)
    elif envelope.type == ScoreChanged.TYPE:
        bands = _bands.decode(envelope.data)
        state.standing = msgspec.structs.replace(before, risk_band=bands.risk_band, value_band=bands.value_band)
    return [name for name in before.__struct_fields__ if getattr(before, name) != getattr(state.standing, name)]


def apply_consent(loaded: LoadedCustomer, change: Change) -> None:
    """Apply what was said of consent."""
    loaded.note()
    loaded.state.consent = change.consent
    loaded.touched = True


def recommend(loaded: LoadedCustomer) -> list[str]:
    """The customer has recommended us. Returns what changed."""
    if loaded.state.advocate:
        return []
    loaded.state.advocate = True
    return ["advocate"]


def absorb(survivor: Customer, other: Customer) -> None:
    """Merge `other` into `survivor`, all but the identifiers."""
    _keep_latest(survivor, other.traits)
    standing = survivor.standing
    points, level = standing.points + other.standing.points, standing.level or other.standing.level
    survivor.standing = msgspec.structs.replace(standing, points=points, level=level)
    survivor.windows, survivor.stale = {}, True  # they are counted anew, from the journal of both
    for id, theirs in other.sections.every(ORDER).items():
        ours = survivor.sections.get(ORDER, id)
        _replace(survivor, id, ours, theirs if ours is None else _united(ours, theirs))
    survivor.first = min((at for at in (survivor.first, other.first) if at is not None), default=None)
    survivor.last = max((at for at in (survivor.last, other.last) if at is not None), default=None)
    _touched(survivor, other.first_touch, other.last_touch)
    survivor.advocate |= other.advocate
    flags = [each for each in (survivor.deselected, other.deselected) if each is not None]
    survivor.deselected = max(flags, default=None)  # a de-selection of either stays
    said = [each for each in (survivor.relationship, other.relationship) if each is not None]
    survivor.relationship = max(said, default=None)
    if other.consent:
        survivor.consent = merged(survivor.consent, other.consent)


def merge(working_set: WorkingSet, survivor: LoadedCustomer, other: LoadedCustomer) -> list[Binding]:
    """Merge `other` into `survivor`, who keeps their userId if they have one. Returns the identifiers that came along."""
    survivor.note()
    other.note()
    absorb(survivor.state, other.state)
    survivor.state.user = survivor.state.user or other.state.user
    for segment, at in other.state.segments.items():
        other.moves.append(Move(segment, False, at))
        if segment not in survivor.state.segments:  # of one with a condition, the next look decides
            survivor.state.segments[segment] = at
            survivor.moves.append(Move(segment, True, at))
    bound = [working_set.lead(ref, survivor, version + 1) for ref, version in sorted(other.state.identifiers.items())]
    survivor.state.merged += [*other.state.merged, str(other.id)]
    survivor.shown = other.shown = None
    survivor.touched = other.touched = True
    sections = other.state.sections
    sections.empty()
    other.state = Customer(facts=other.state.facts)
    other.state.hold(sections)
    other.merged_into = survivor.id
    return bound


def _bind(working_set: WorkingSet, loaded: LoadedCustomer, ref: str) -> Binding:
    version = working_set.continued.get(ref, 0) + 1
    if (old := working_set.holder(ref)) is not None:
        version = old.state.identifiers.pop(ref) + 1
        old.touched = True
    if ref.startswith("user:"):
        loaded.state.user = ref.removeprefix("user:")
    loaded.touched = True
    return working_set.lead(ref, loaded, version)


def _touched(state: Customer, first: Touch | None, last: Touch | None) -> None:
    state.first_touch = earlier(state.first_touch, first)
    state.last_touch = later(state.last_touch, last)


def _identify(state: Customer, at: int, source: str, traits: Mapping[str, msgspec.Raw]) -> None:
    _keep_latest(state, {name: Trait(at, value, source) for name, value in traits.items()})


def _keep_latest(state: Customer, traits: Mapping[str, Trait]) -> None:
    for name, trait in traits.items():
        held = state.traits.get(name)
        if held is None or (held.at, held.text, held.source) < (trait.at, trait.text, trait.source):
            state.traits[name] = trait
    total = sum(size(name, trait) for name, trait in state.traits.items())
    while total > TRAITS:
        largest = max(state.traits, key=lambda name: (size(name, state.traits[name]), name))
        total -= size(largest, state.traits.pop(largest))


def _purchase(state: Customer, at: int, purchase: OrderEvent) -> None:
    match purchase:
        case OrderCompleted(id, money):
            update = Order(at, *(money or (None, "")))
        case OrderRefunded(id, refund, back):
            update = Order(refunds={refund: back}, refunded_at=at)
        case OrderCancelled(id):
            update = Order(cancelled=True, refunded_at=at)
    if id is None:
        return  # a refund of no order that could be found
    known = state.sections.get(ORDER, id)
    _replace(state, id, known, update if known is None else _united(known, update))


def _united(one: Order, other: Order) -> Order:
    """One order out of two partial histories of it."""
    first = min((one, other), key=_seniority)
    return Order(
        first.at,
        first.minor,
        first.currency,
        united(one.refunds, other.refunds),
        one.cancelled or other.cancelled,
        min((at for at in (one.refunded_at, other.refunded_at) if at is not None), default=None),
    )


def _seniority(order: Order) -> tuple[bool, int, str, bool, int]:
    return (order.at is None, order.at or 0, order.currency, order.minor is None, order.minor or 0)


def _replace(state: Customer, id: str, before: Order | None, after: Order) -> None:
    """Store an order, and count it instead of its earlier version."""
    state.sections.set(ORDER, id, after, after.waits_since)
    for order, by in ((before, -1), (after, +1)):
        if order is None or not order.counts:
            continue
        state.completed += by
        if order.minor is not None:
            paid = state.paid.get(order.currency) or Paid()
            state.paid[order.currency] = Paid(paid.orders + by, paid.minor + by * order.net)
    for order in (before, after):
        if order is not None and order.currency in state.paid and not state.paid[order.currency].orders:
            del state.paid[order.currency]
