"""Which segments a customer is in: how that follows from what changed. Pure.

A segment is evaluated when something changed that its condition reads. Its windows are kept event by event; what leaves
a window, or lies too long ago for `ago(…)`, is found when the customer's timer is due (see `refresh`).
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any, TypeAlias
from uuid import UUID

import msgspec

from libs.common.contracts.input import Input
from libs.common.contracts.profile import SegmentEntered, SegmentExited
from libs.common.contracts.records import Envelope
from libs.common.rules import rule_event
from libs.common.rules.cel.condition import Activation, bind
from libs.common.rules.cel.names import COMPUTED, TIMES
from libs.common.rules.cel.values import absent_part, look_up
from libs.common.rules.cel.windows import ago_key
from libs.common.rules.rule_event import event_variables
from services.profile.domain.consent import allowed
from services.profile.domain.identity import LoadedCustomer, Move
from services.profile.domain.journey import READS, AsOf
from services.profile.domain.snapshot import revenue
from services.profile.domain.state import Customer, Total, micros, moment
from services.profile.segments.rules import CompiledSegment, KeptWindow, Rules
from services.profile.segments.totals import Occurrence, added, leaves_at, micros_of, occurrence, value

SegmentFact: TypeAlias = SegmentEntered | SegmentExited


class _Sent(msgspec.Struct):
    properties: dict[str, Any] = {}
    traits: dict[str, Any] = {}
    context: dict[str, Any] = {}


_sent = msgspec.json.Decoder(_Sent)
_fact = msgspec.json.Decoder(dict[str, Any])


def occurrences(windows: Iterable[KeptWindow], envelope: Envelope) -> Iterator[tuple[KeptWindow, Occurrence]]:
    """The windows that a record counts in, of those given, each with what it counts."""
    event = rule_event.read(envelope)
    said: _Sent | None = None
    for kept in windows:
        if event is None or kept.window.event != event.name:
            continue
        if said is None:
            said = _sent.decode(event.data) if event.of_app else _Sent(properties=_fact.decode(event.data))
        if (
            kept.where is not None
            and not kept.where.evaluate(_variables_of(envelope, event.name, event.kind, said), {}).matched
        ):
            continue
        yield kept, occurrence(kept.window, micros(envelope.time), said.properties)


def _variables_of(envelope: Envelope, name: str, kind: str, said: _Sent) -> Mapping[str, object]:
    input = Input(
        envelope.id, kind, envelope.source, envelope.time, envelope.recordedtime, envelope.depth, False, None, None
    )
    return event_variables(name, kind, input, msgspec.structs.asdict(said))


def is_kept(state: Customer, since: int) -> bool:
    """Whether what began with rulebook `since` is kept for a customer event by event."""
    return since <= state.filled and not state.stale


def count(state: Customer, rules: Rules, name: str, envelope: Envelope) -> list[str]:
    """Count a record in the windows that are kept for this customer, and compute the traits that follow. Returns what
    changed, as conditions read it."""
    changed = []
    if (windows := rules.by_event.get(name)) is not None:
        current = [kept for kept in windows if is_kept(state, kept.since)]
        for kept, counted in occurrences(current, envelope):
            key = kept.window.key
            state.windows[key] = added(state.windows.get(key) or Total(), counted)
            changed.append(key)
    return changed + compute(state, rules, changed) if changed else changed


def compute(state: Customer, rules: Rules, keys: Collection[str]) -> list[str]:
    """Compute the traits whose windows changed. Returns their names, as conditions read them."""
    changed = []
    for name, window in rules.traits.items():
        if window.key in keys:
            now = value(window, state.windows.get(window.key) or Total())
            if state.computed.get(name) != now:
                state.computed = {**state.computed, name: now}
                changed += ["traits", f"traits.{name}"]
    return changed


def follow(loaded: LoadedCustomer, rules: Rules, changed: Iterable[str], now: int) -> list[SegmentFact]:
    """Evaluate the segments that read what changed, as of `now`. Returns the facts, and notes the moves."""
    read = [*changed, "*"]
    if "stage" in rules.readers and not READS.isdisjoint(read):
        read.append("stage")
    names = {name: None for key in read for name in rules.readers.get(key, ())}
    current = [rules.segments[name] for name in names if is_kept(loaded.state, rules.segments[name].live.since)]
    return evaluate(loaded, current, AsOf(now, rules.journey)) if current else []


def evaluate(
    loaded: LoadedCustomer, segments: Iterable[CompiledSegment], as_of: AsOf, *, backfill: bool = False
) -> list[SegmentFact]:
    """Evaluate these segments for a customer. Returns the facts, and notes the moves. Static ones stay as they are."""
    facts: list[SegmentFact] = []
    segments = list(segments)
    view = View(loaded, segments, as_of)
    for segment in segments:
        live = segment.live
        if segment.condition is None:
            continue
        matched = segment.condition.evaluate(view.activation).matched
        if matched == (live.name in loaded.state.segments):
            continue
        because = segment.condition.explain({}, view.customer)
        fact = SegmentEntered if matched else SegmentExited
        facts.append(fact(segment=live.name, version=live.version, because=because, backfill=backfill))
        move(loaded, Move(live.name, matched, as_of.now))
    return facts


def move(loaded: LoadedCustomer, move: Move) -> None:
    """Let a customer enter or leave a segment."""
    if move.entered:
        loaded.state.segments[move.segment] = move.at
    else:
        loaded.state.segments.pop(move.segment, None)
    loaded.moves.append(move)
    loaded.touched = True


class View:
    """A customer as the conditions of some segments see them at a time; made when the first asks."""

    def __init__(self, loaded: LoadedCustomer, segments: Iterable[CompiledSegment], as_of: AsOf) -> None:
        self._loaded = loaded
        self._conditions = [segment.condition for segment in segments if segment.condition is not None]
        self._now = as_of.now
        self._as_of = as_of

    @cached_property
    def customer(self) -> dict[str, Any]:
        held = self._loaded.state.windows
        windows = {window.key: window for condition in self._conditions for window in condition.windows}
        spans = {span for condition in self._conditions for _, span in condition.turns}
        return {
            **variables(self._loaded, self._as_of),
            COMPUTED: {key: value(window, held.get(key) or Total()) for key, window in windows.items()},
            TIMES: {ago_key(span): _iso(self._now - micros_of(span)) for span in spans},
        }

    @cached_property
    def activation(self) -> Activation:
        """The same, made ready for conditions."""
        return bind({}, self.customer)

    def turns(self) -> Iterator[int]:
        """The times after now at which comparisons with `ago(…)` turn."""
        variables = {"customer": self.customer}
        for condition in self._conditions:
            for path, span in condition.turns:
                text = None if absent_part(path, variables) else look_up(path, variables)
                if isinstance(text, str) and (turns := _turn(text, span)) is not None and turns > self._now:
                    yield turns


def variables(loaded: LoadedCustomer, as_of: AsOf) -> dict[str, Any]:
    """`customer`, as conditions of segments see it: all but windows and `ago`."""
    state = loaded.state
    return {
        "id": str(loaded.id),
        "traits": {name: msgspec.json.decode(trait.value) for name, trait in state.traits.items() if not trait.gone}
        | state.computed,
        "orders": state.completed,
        "revenue": {currency: float(amount) for currency, amount in revenue(state).items()},
        "first_seen": None if state.first is None else _iso(state.first),
        "last_seen": None if state.last is None else _iso(state.last),
        "consent": allowed(state.consent),
        "channel": state.channel,
        "stage": as_of.stage(state),
        "deselected": state.deselected is not None,
        **msgspec.structs.asdict(state.standing),
    }


def due(loaded: LoadedCustomer, rules: Rules, now: int) -> int | None:
    """When the customer must be looked at again, because something leaves a window or a comparison with `ago(…)` turns; now,
    if nothing is filled. None: nothing will change by itself."""
    state = loaded.state
    if not rules.active or loaded.merged_into is not None:
        return None
    if state.stale or not state.filled:
        return now
    times = [
        at
        for key, total in state.windows.items()
        if key in rules.windows and (at := leaves_at(rules.windows[key].window, total)) is not None
    ]
    as_of = AsOf(now, rules.journey)
    if rules.turning:
        times += View(loaded, rules.turning, as_of).turns()
    if "stage" in rules.readers and (turn := as_of.turns_at(state)) is not None:
        times.append(turn)
    return min(times, default=None)


def timers(customers: Iterable[LoadedCustomer], rules: Rules, now: int) -> dict[UUID, datetime]:
    """The timers to set after a batch: of customers who must be looked at earlier than they would be. Notes them in the
    states."""
    times = {}
    for loaded in customers if rules.active else ():
        at = due(loaded, rules, now) if loaded.touched else None
        if at is not None and (loaded.state.due is None or at < loaded.state.due):
            loaded.state.due = at
            times[loaded.id] = moment(at)
    return times


#: The kind of timer.
TIMER = "segments"


def _iso(at: int) -> str:
    return moment(at).isoformat()


def _turn(text: str, span: timedelta) -> int | None:
    """The first microsecond at which a time lies longer ago than `span`; None if the text is no time."""
    try:
        return micros(datetime.fromisoformat(text)) + micros_of(span) + 1
    except ValueError:
        return None
