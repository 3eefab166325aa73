"""Why a condition held or did not, in the words of the rule's author."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from libs.common.rules.cel.names import Reading, dotted
from libs.common.rules.cel.values import absent_part, look_up, value_in_words


@dataclass(frozen=True, slots=True)
class Operand:
    """One comparison of a condition, and what it met."""

    text: str
    """As it is written in the rule."""
    value: bool | None
    """What it gave; None when it could not be evaluated."""
    values: tuple[tuple[str, object], ...]
    """The paths in it that were there, with their values, in the order of the source."""
    absent: tuple[str, ...]
    """The paths in it that were not there."""
    error: str | None = None
    """Why it could not be evaluated, when that was not an absent property."""

    def sentence(self) -> str:
        """`event.properties.revenue > 50 (it was 29.33)`."""
        only = len(self.values) + len(self.absent) == 1
        said = [f"{'it' if only else path} was {value_in_words(value)}" for path, value in self.values]
        said += [f"{'it' if only else path} is absent" for path in self.absent]
        if self.error is not None:
            said.append(self.error)
        return f"{self.text} ({', '.join(said)})" if said else self.text


def operand(text: str, value: bool | None, error: str | None, reading: Reading, variables: object) -> Operand:
    """One comparison with the values that its paths have in `variables`."""
    values: dict[str, object] = {}
    absent: dict[str, None] = {}
    for path in (*reading.reads, *reading.named()):
        missing = absent_part(path, variables)
        if missing is not None:
            absent[dotted(missing)] = None
        elif path in reading.named():
            value_met = look_up(path, variables)
            values[dotted(path)] = value_met
            error = error and error.removeprefix(f"{dotted(path)} was {value_in_words(value_met)}, and ")
    return Operand(re.sub(r"\s*\n\s*", " ", text), value, tuple(values.items()), tuple(absent), error)


def explanation(matched: bool, every: bool, operands: Sequence[Operand]) -> str:
    """`false because …` or `true because …`, naming the operands that decided; `every` if all of them had to hold."""
    verdict = "true because" if matched else "false because"
    if matched or len(operands) == 1:
        decisive = [part for part in operands if part.value is matched or len(operands) == 1]
        return f"{verdict} {' and '.join(part.sentence() for part in decisive)}"
    if every:
        failed = [part for part in operands if part.value is not True]
        return f"{verdict} {' and '.join(part.sentence() for part in failed)}"
    return f"{verdict} none of these holds: {', '.join(part.sentence() for part in operands)}"
