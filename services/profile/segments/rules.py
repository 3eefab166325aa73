"""Segments as the fold uses them: compiled once for each rulebook, found by what their conditions read."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from libs.common.contracts import events, records, registry
from libs.common.rules.cel.condition import Condition, compile_condition
from libs.common.rules.cel.names import COMPUTED, CUSTOMER, ONLY_EVENT, TIMES, Path
from libs.common.rules.cel.windows import Window
from libs.common.rules.rule_event import FACT_NAMES
from services.profile.computed.trait import window_of
from services.profile.domain.journey import Journey

#: What has changed of a new customer, beside what their first event says.
NEW = "new"


class LiveSegment(msgspec.Struct, frozen=True):
    """A live segment in a rulebook. `since` is the rulebook that began this version. A static one has no condition."""

    name: str
    version: int
    when: str | None
    since: int


class LiveTrait(msgspec.Struct, frozen=True):
    """A live computed trait in a rulebook; `value` is its window as text."""

    name: str
    value: str


class Rulebook(msgspec.Struct, frozen=True):
    """The content of a rulebook: all live segments and computed traits, the rulebook from which on each window has been kept,
    and the workspace's rules of the journey and groups of traits."""

    segments: list[LiveSegment] = []
    windows: dict[str, int] = {}
    traits: list[LiveTrait] = []
    journey: Journey = Journey()
    trait_groups: dict[str, list[str]] = {}


@dataclass(frozen=True, slots=True)
class CompiledSegment:
    """A live segment with its condition."""

    live: LiveSegment
    condition: Condition | None

    @property
    def windows(self) -> tuple[Window, ...]:
        return () if self.condition is None else tuple(self.condition.windows)


@dataclass(frozen=True, slots=True)
class KeptWindow:
    """A window that some live segment reads, kept since a rulebook. `marks`: a journal record that holds none of these bytes
    is not of its event."""

    window: Window
    since: int
    where: Condition | None
    marks: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Rules:
    """The live segments of rulebook `number`, and the windows of live computed `traits`.

    `readers` are the names of segments by what they read: `orders`, `traits.plan`, `traits` (of any), a window's key; and
    under `NEW` those that a new customer may enter without any of it. Those `turning` use `ago(…)`.
    """

    number: int = 0
    segments: Mapping[str, CompiledSegment] = field(default_factory=dict)
    windows: Mapping[str, KeptWindow] = field(default_factory=dict)
    by_event: Mapping[str, tuple[KeptWindow, ...]] = field(default_factory=dict)
    readers: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    traits: Mapping[str, Window] = field(default_factory=dict)
    turning: tuple[CompiledSegment, ...] = ()
    journey: Journey = field(default_factory=Journey)
    trait_groups: Mapping[str, Sequence[str]] = field(default_factory=dict)

    @property
    def active(self) -> bool:
        """Whether anything is live."""
        return bool(self.segments or self.traits)


def compiled(number: int, book: Rulebook) -> Rules:
    """Compile a rulebook. Raises ConditionError for a condition that could not have been saved."""
    segments = {
        live.name: CompiledSegment(live, None if live.when is None else compile_condition(live.when, CUSTOMER))
        for live in book.segments
    }
    traits = {trait.name: window_of(trait.value) for trait in book.traits}
    windows = {window.key: kept(window, book.windows[window.key]) for window in traits.values()}
    readers: defaultdict[str, dict[str, None]] = defaultdict(dict)
    for name, segment in segments.items():
        for window in segment.windows:
            windows.setdefault(window.key, kept(window, book.windows[window.key]))
        for path in () if segment.condition is None else segment.condition.reads:
            for read in _read(path):
                readers[read][name] = None
    by_event: defaultdict[str, list[KeptWindow]] = defaultdict(list)
    for each in windows.values():
        by_event[each.window.event].append(each)
    return Rules(
        number,
        segments,
        windows,
        {event: tuple(each) for event, each in by_event.items()},
        {read: tuple(names) for read, names in readers.items()},
        traits,
        tuple(each for each in segments.values() if each.condition is not None and each.condition.turns),
        book.journey,
        book.trait_groups,
    )


def kept(window: Window, since: int) -> KeptWindow:
    """A window, ready to count events."""
    where = None if window.where is None else compile_condition(window.where, ONLY_EVENT)
    return KeptWindow(window, since, where, _marks(window.event))


def book_of(segments: list[LiveSegment], traits: list[LiveTrait], before: Rulebook, number: int) -> Rulebook:
    """The content of rulebook `number`, which follows `before`: a window that both have has been kept all the time."""
    keys = {
        window.key
        for live in segments
        if live.when is not None
        for window in compile_condition(live.when, CUSTOMER).windows
    } | {window_of(trait.value).key for trait in traits}
    windows = {key: before.windows.get(key, number) for key in sorted(keys)}
    return msgspec.structs.replace(before, segments=segments, windows=windows, traits=traits)


def _read(path: Path) -> list[str]:
    """The keys of `Rules.readers` under which a path is found."""
    match path[1:]:
        case (holder, key) if holder == COMPUTED:
            return [str(key)]
        case (holder, *_) if holder == TIMES:
            return []
        case ("traits", str(name), *_):
            return [f"traits.{name}"]
        case (member, *_):
            return [str(member)]
        case _:  # the customer as a whole
            return ["*"]


def _marks(event: str) -> tuple[bytes, ...]:
    if event in FACT_NAMES:
        return (f'"type":"{_TYPE_OF[event]}"'.encode(),)
    kinds = [kind for kind, name in events.NAMES.items() if name == event]
    return (msgspec.json.encode(event), *(f'"type":"{events.TYPES[kind]}"'.encode() for kind in kinds))


_TYPE_OF = {records.display_name(type): type for type in registry.BY_TYPE}
