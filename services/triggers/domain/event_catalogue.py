"""The event catalogue: names and properties that events have had, and warnings about hooks that use others."""

from collections.abc import Iterator, Mapping, Set
from datetime import timedelta
from difflib import get_close_matches

from libs.common.contracts.records import display_name
from libs.common.contracts.triggers import MessageFailed, MessageQueued, MessageSent, MessageWithheld
from libs.common.rules.cel.condition import compile_condition
from libs.common.rules.liquid.template import compile_template
from libs.common.rules.rule_event import FACT_NAMES
from services.triggers.domain.hook import Hook

SEEN_WITHIN = timedelta(days=30)
DEEPEST = 3
#: Longer names and paths are left out.
LONGEST = 256
#: Paths kept for each event name (in a partition, by a process); others are left out.
MOST_PATHS = 300

#: The facts that any message of any hook leads to.
ITS_OWN = frozenset(display_name(fact.TYPE) for fact in (MessageQueued, MessageSent, MessageWithheld, MessageFailed))

_PROPERTIES = "event.properties."


def paths(properties: Mapping[str, object], before: str = "", depth: int = 1) -> Iterator[str]:
    """The dotted paths of an event's properties, including those of nested objects."""
    for name, value in properties.items():
        path = f"{before}{name}"
        if len(path) > LONGEST:
            continue
        yield path
        if isinstance(value, dict) and depth < DEEPEST:
            yield from paths(value, f"{path}.", depth + 1)


def used(hook: Hook) -> set[str]:
    """The paths below `event.properties` that the hook's condition and texts use."""
    found = set(compile_condition(hook.trigger.when).paths) if hook.trigger.when else set()
    for source in filter(None, (hook.action.title, hook.action.text)):
        found |= compile_template(source).variables
    return {path.removeprefix(_PROPERTIES) for path in found if path.startswith(_PROPERTIES)}


def warnings(hook: Hook, names: Set[str], properties: Set[str]) -> list[str]:
    """Warnings about events and properties that the hook uses and no app has sent lately.

    `names` are the events of the last 30 days, `properties` the paths that the hook's event has had in them.
    """
    event = hook.trigger.event
    own = []
    if event in ITS_OWN and "hook" not in used(hook):
        own = [
            f"The hook's own messages lead to {event}, too, and would start it again: add a condition on event.properties.hook."
        ]
    if event in FACT_NAMES:
        properties = set(FACT_NAMES[event])
    elif event not in names:
        return [f"No event named {event!r} was seen in the last 30 days{_nearest(event, names | FACT_NAMES.keys())}"]
    known = {path.partition("[")[0] for path in properties}
    return own + [
        f"No {event} of the last 30 days had the property {path!r}{_nearest(path, known)}"
        for path in sorted(used(hook))
        if path.partition("[")[0] not in known and path.count(".") < DEEPEST
    ]


def _nearest(wanted: str, known: Set[str]) -> str:
    lowered = {name.lower(): name for name in sorted(known)}
    near = get_close_matches(wanted.lower(), lowered, 1)
    return f": did you mean {lowered[near[0]]!r}?" if near else "."
