"""Which segments a customer is in: how that follows from what changed. Pure.

A segment is evaluated when something changed that its condition reads. Its windows are kept event by event; what leaves
a window, or lies too long ago for `ago(…)`, is found when the customer's timer is due (see `refresh`).
"""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import date, datetime, tzinfo
from typing import Any, TypeAlias
from uuid import UUID

import msgspec

from libs.common.contracts.input import Input
from libs.common.contracts.profile import SegmentEntered, SegmentExited
from libs.common.contracts.records import Envelope
from libs.common.rules import rule_event
from libs.common.rules.rule_event import event_variables
from services.profile.domain.identity import LoadedCustomer, Move
from services.profile.domain.journey import READS, AsOf
from services.profile.domain.state import Customer, Total, micros, moment
from services.profile.segments.rules import NEW, CompiledSegment, KeptWindow, Rules
from services.profile.segments.totals import Occurrence, arrived, leaves_at, occurrence, value
from services.profile.segments.view import View

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
    """Count a record in the windows that are kept for this customer, unless it was received too late for them, and compute
    the traits that follow. Returns what changed, as conditions read it."""
    changed = []
    if (windows := rules.by_event.get(name)) is not None:
        current = [kept for kept in windows if is_kept(state, kept.since)]
        for kept, counted in occurrences(current, envelope):
            key = kept.window.key
            before = state.windows.get(key) or Total()
            state.windows[key] = after = arrived(kept.window, before, counted, micros(envelope.recordedtime))
            if after.count != before.count:
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


def follow(
    loaded: LoadedCustomer, rules: Rules, changed: Iterable[str], now: int, *, imported: bool = False
) -> list[SegmentFact]:
    """Evaluate the segments that read what changed, as of `now`. Returns the facts, and notes the moves.

    Where something has left a window that is still counted in it, nothing is evaluated: the timer that takes it out is due,
    and evaluates what waits for it.
    """
    state = loaded.state
    read = [*changed, "*"]
    if "stage" in rules.readers and not READS.isdisjoint(read):
        read.append("stage")
    names = {name: None for key in read for name in rules.readers.get(key, ())}
    current = [rules.segments[name] for name in names if is_kept(state, rules.segments[name].live.since)]
    if not current:
        return []
    if _timer_is_due(state, current, now):
        wait(loaded, now, imported)
        return []
    return evaluate(loaded, current, AsOf(now, rules.journey))


def _timer_is_due(state: Customer, segments: Iterable[CompiledSegment], now: int) -> bool:
    if state.due is not None and state.due <= now:
        return True
    windows = (window for segment in segments for window in segment.windows)
    leave = (leaves_at(window, total) for window in windows if (total := state.windows.get(window.key)) is not None)
    return any(at is not None and at <= now for at in leave)


def wait(loaded: LoadedCustomer, now: int, imported: bool) -> None:
    """Have the timer evaluate all segments, not earlier than as of `now`. Its facts are marked as imported if all that waits
    for it is."""
    state = loaded.state
    state.silent = imported and (state.pending is None or state.silent)
    state.pending = max(state.pending or now, now)
    loaded.touched = True


def with_new(rules: Rules) -> Rules:
    """The same rules, which know the segments that a new customer may enter: those that hold of who has done nothing
    (`customer.orders == 0`), and those that ask for the id."""
    nobody = LoadedCustomer.new(UUID(int=0))
    as_of = AsOf(0, rules.journey)
    hold = [
        name
        for name, segment in rules.segments.items()
        if segment.condition is not None
        and segment.condition.evaluate(View(nobody, [segment], as_of).activation).matched
    ]
    names = dict.fromkeys((*hold, *rules.readers.get("id", ())))
    return replace(rules, readers={**rules.readers, NEW: tuple(names)})


def evaluate(
    loaded: LoadedCustomer, segments: Iterable[CompiledSegment], as_of: AsOf, begun: Collection[str] = ()
) -> list[SegmentFact]:
    """Evaluate these segments for a customer. Returns the facts, and notes the moves. Static ones stay as they are. Facts on
    those that have just `begun` say `backfill`."""
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
        facts.append(fact(segment=live.name, version=live.version, because=because, backfill=live.name in begun))
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


def moves_by_day(
    customers: Iterable[LoadedCustomer], zone: tzinfo, partition: int = 0
) -> Counter[tuple[int, date, str, str]]:
    """How many entered and left each segment, as rows of the counters: by partition, day in `zone`, counter and (no) source."""
    return Counter(
        (partition, moment(at).astimezone(zone).date(), f"{'entered' if entered else 'exited'}:{segment}", "")
        for loaded in customers
        for segment, entered, at in loaded.moves
    )


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
            if at <= now and loaded.state.pending is None:
                wait(loaded, now, imported=False)
    return times


#: The kind of timer.
TIMER = "segments"
