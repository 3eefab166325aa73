"""A customer as the conditions of segments see them at a time, and when comparisons with `ago(…)` turn. Pure."""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any

import msgspec

from libs.common.rules.cel.condition import Activation, bind
from libs.common.rules.cel.names import COMPUTED, TIMES
from libs.common.rules.cel.values import absent_part, look_up
from libs.common.rules.cel.windows import ago_key
from services.profile.domain.consent import allowed
from services.profile.domain.identity import LoadedCustomer
from services.profile.domain.journey import AsOf
from services.profile.domain.snapshot import revenue
from services.profile.domain.state import Total, micros, moment
from services.profile.segments.rules import CompiledSegment
from services.profile.segments.totals import micros_of, value

_SECOND = 10**6
_LATEST = micros(datetime.max.replace(tzinfo=UTC))


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
                if isinstance(text, str):
                    yield from (turn for turn in _turns(text, span) if self._now < turn <= _LATEST)


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


def _iso(at: int) -> str:
    return moment(at).isoformat()


def _turns(text: str, span: timedelta) -> list[int]:
    """The first microseconds at which a time may lie longer ago than `span`, as its text compares: of one that is not in our
    own form also the end of the second that is written, because `Z` is greater than any fraction. None if it is no time."""
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        return []
    if text.endswith("+00:00"):
        return [micros(time) + micros_of(span) + 1]
    written = micros(time.replace(tzinfo=UTC))
    return [at + micros_of(span) + 1 for at in (written, written - written % _SECOND + _SECOND)]
