"""Conditions of rules: CEL over `event` and `customer`, compiled when a rule is saved, evaluated for every event.

    condition = compile_condition("event.name == 'Order Completed' && event.properties.revenue * 2 > 100")
    activation = bind(event, customer)            # once an event
    condition.evaluate(activation).matched        # once a rule

All numbers are doubles (see `numbers`). An evaluation that fails is no match, and says why; it never raises and
is bounded in time by the library's iteration budget and by `_WORK` below.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import lru_cache

from libs.common.rules.cel.engine import Evaluate, compile_text, in_words, overload
from libs.common.rules.cel.explain import Operand, explanation, operand
from libs.common.rules.cel.names import EVENT, ONLY_EVENT, Path, Reading, Subject, dotted, read, static_path
from libs.common.rules.cel.nodes import Items, Logic, Node, operation
from libs.common.rules.cel.numbers import adapt
from libs.common.rules.cel.parser import parse
from libs.common.rules.cel.tokens import MAX_LENGTH, ConditionError
from libs.common.rules.cel.values import Activation, absent_part, kind_in_words, look_up, value_in_words
from libs.common.rules.cel.windows import Window

__all__ = ["MAX_LENGTH", "Activation", "Condition", "ConditionError", "Operand", "Outcome", "bind", "compile_condition"]

_ITERATIONS = 10_000  # the library's budget for one evaluation
_WORK = 50_000_000  # about nanoseconds: what one evaluation may spend on comparing whole texts and lists
_ABSENCES = ("Key not found", "SELECT to non-message", "Index error")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an evaluation gave. When it failed, `matched` is false, and `absent` or `error` says why."""

    matched: bool
    absent: str | None = None
    """The first path that the condition needed and did not find: `event.properties.revenue`."""
    error: str | None = None
    """Any other reason, as a sentence fragment."""


_MATCHED = Outcome(True)
_UNMATCHED = Outcome(False)


def bind(event: Mapping[str, object], customer: Mapping[str, object]) -> Activation:
    """Makes an event and its customer ready for any number of conditions. Values are JSON's (dict, list, str, …)."""
    return Activation(event, customer)


@lru_cache(maxsize=4_096)
def compile_condition(source: str, subject: Subject = EVENT) -> "Condition":
    """Compiles a condition about `subject`. Raises ConditionError with line and column when it is not one, or could cost too
    much."""
    root = parse(source)
    reading = read(source, root, subject)
    for window in reading.windows:
        if window.where is not None:
            _refuse_faulty(window.where, source)
    adapted = adapt(source, root)
    evaluate = compile_text(adapted.text, lambda offset: (source, adapted.source_offset(offset)))
    return Condition(source, reading.paths, subject, root, reading, evaluate)


def _refuse_faulty(where: str, source: str) -> None:
    try:
        compile_condition(where, ONLY_EVENT)
    except ConditionError as error:
        at = max(source.find(where), 0)
        raise ConditionError.at(f"where: {error.message}", source, at) from None


@dataclass(frozen=True, slots=True)
class Condition:
    """A compiled condition; made by `compile_condition`."""

    source: str
    paths: frozenset[str]
    """Dotted paths that it reads or tests: `event.properties.revenue`, `customer.traits.plan`."""
    subject: Subject
    _root: Node = field(repr=False, compare=False)
    _reading: Reading = field(repr=False, compare=False)
    _evaluate: Evaluate = field(repr=False, compare=False)

    @property
    def windows(self) -> Sequence[Window]:
        """The windows over events that it asks for."""
        return self._reading.windows

    @property
    def turns(self) -> Sequence[tuple[Path, timedelta]]:
        """The times that it compares with `ago(…)`: so long after each, the comparison turns."""
        return self._reading.turns

    @property
    def reads(self) -> Sequence[Path]:
        """The paths that it reads or tests, in full."""
        return (*self._reading.reads, *self._reading.tested)

    def evaluate(
        self, event: Mapping[str, object] | Activation, customer: Mapping[str, object] | None = None
    ) -> Outcome:
        """Whether the condition holds for an event, bound already or given with its customer. Never raises."""
        activation = event if isinstance(event, Activation) else Activation(event, customer or {})
        if activation.error is not None:
            return Outcome(False, error=activation.error)
        if (len(self._reading.cost) > 1 or self._reading.cost[0] > 20) and self._work(activation) > _WORK:
            return Outcome(False, error="the event is too large for the loops in this condition")
        try:
            result = self._evaluate(activation.bound)
            value = result.value()
        except Exception as error:  # the library raises RuntimeError, and others for what is no JSON
            return self._failed(str(error), activation)
        if value is True:
            return _MATCHED
        if value is False:
            return _UNMATCHED
        if str(result.type()) == "ERROR":
            return self._failed(str(value), activation)
        return Outcome(False, error=f"the condition gave {kind_in_words(value)}, not true or false")

    def operands(self, event: Mapping[str, object], customer: Mapping[str, object]) -> list[Operand]:
        """The comparisons that `&&` or `||` join at the top, each with its value and the values it met."""
        activation = bind(event, customer)
        parts = self._root.operands if isinstance(self._root, Logic) else (self._root,)
        found: list[Operand] = []
        for part in parts:
            text = self.source[part.start : part.end]
            condition = compile_condition(text, self.subject)
            outcome = condition.evaluate(activation)
            value = None if outcome.absent or outcome.error else outcome.matched
            found.append(operand(text, value, outcome.error, condition._reading, activation.variables))
        return found

    def explain(self, event: Mapping[str, object], customer: Mapping[str, object]) -> str:
        """`false because event.properties.revenue > 50 (it was 29.33)`, naming the comparisons that decided."""
        every = not (isinstance(self._root, Logic) and self._root.operator == "||")
        outcome = self.evaluate(event, customer)
        operands = self.operands(event, customer)
        if outcome.error and all(operand.value for operand in operands):
            return f"false because {outcome.error}"
        return explanation(outcome.matched, every, operands)

    def _work(self, activation: Activation) -> int:
        values, texts, longest = activation.extent
        longest = max(longest, *(len(node.items) for node in _all(self._root) if isinstance(node, Items)), 0)
        if self._reading.splits:
            longest = max(longest, texts)
        touched = texts + 20 * values
        return sum(cost * min(_ITERATIONS, longest**loops) * touched for loops, cost in enumerate(self._reading.cost))

    def _failed(self, message: str, activation: Activation) -> Outcome:
        if any(absence in message for absence in _ABSENCES):
            missing = [path for known in self._reading.reads if (path := absent_part(known, activation.variables))]
            named = [path for path in missing if f'"{path[-1]}"' in message]
            for path in (*named, *missing):
                return Outcome(False, absent=dotted(path))
        return Outcome(False, error=self._mismatch(message, activation.variables) or in_words(message))

    def _mismatch(self, message: str, variables: object) -> str | None:
        """`event.properties.revenue was 'n/a', and > does not work with text and a number`."""
        if (mismatch := overload(message)) is None:
            return None
        operator, kinds = mismatch
        for node in _all(self._root):
            for path in _direct_paths(node) if operation(node) == operator else ():
                if absent_part(path, variables) is not None:
                    continue
                value = look_up(path, variables)
                if kind_in_words(value) in kinds if kinds else not isinstance(value, bool):
                    return f"{dotted(path)} was {value_in_words(value)}, and {in_words(message)}"
        return None


def _direct_paths(node: Node) -> Iterator[Path]:
    scope = {"event": ("event",), "customer": ("customer",)}
    return (path for part in node.parts() if (path := static_path(part, scope)) is not None)


def _all(node: Node) -> Iterator[Node]:
    yield node
    for part in node.parts():
        yield from _all(part)
