"""What is held against each other: the same shapes, filled by the model and by asking the platform."""

from collections import Counter
from dataclasses import dataclass, field, fields
from decimal import Decimal
from typing import Any


@dataclass
class Answer:
    """All that is known of one person. Amounts in `days` are minor units: orders, left of them, given back."""

    refs: frozenset[str] = frozenset()
    user: str | None = None
    orders: int = 0
    revenue: dict[str, Decimal] = field(default_factory=dict)
    traits: dict[str, Any] = field(default_factory=dict)
    balance: int = 0
    qualifying: int = 0
    level: str | None = None
    badges: dict[str, int] = field(default_factory=dict)
    booked: dict[tuple[str | None, str], int] = field(default_factory=dict)  # by order and rule: credited - reversed
    adjusted: int = 0
    webhooks: Counter[str] = field(default_factory=Counter)  # by the event's marker
    inbox: Counter[str] = field(default_factory=Counter)
    days: dict[tuple[str, str], tuple[int, int, int]] = field(default_factory=dict)  # by day and currency
    active: frozenset[str] = frozenset()
    segments: frozenset[str] = frozenset()
    reviews: int = 0  # as a computed trait
    points: int = 0  # as profile has heard of them


@dataclass
class Whole:
    """What is known of all people together."""

    people: list[Answer]
    #: Events in the journal, by messageId and name.
    journalled: Counter[tuple[str, str]] = field(default_factory=Counter)
    #: (service, messageId) of each record that could not be taken.
    dead: frozenset[tuple[str, str]] = frozenset()
    #: By how much the services' own totals have moved during the run.
    totals: dict[str, int] = field(default_factory=dict)
    #: Webhooks that came: how many ids each marker came with.
    ids: Counter[str] = field(default_factory=Counter)
    #: What is wrong on its own, whatever the workload was.
    wrong: list[str] = field(default_factory=list)


def differences(expected: Whole, found: Whole) -> list[str]:
    """Each difference in a line; none when the platform says what the model says."""
    lines = list(found.wrong)
    for number, (model, real) in enumerate(zip(expected.people, found.people, strict=True)):
        lines += [f"person {number}: {line}" for line in _unlike(model, real)]
    for name in ("journalled", "dead", "totals", "ids"):
        lines += _difference(name, getattr(expected, name), getattr(found, name))
    return lines


def _unlike(model: Answer, real: Answer) -> list[str]:
    names = [each.name for each in fields(Answer)]
    return [line for name in names for line in _difference(name, getattr(model, name), getattr(real, name))]


def _difference(name: str, model: Any, real: Any) -> list[str]:
    if model == real:
        return []
    if isinstance(model, dict) and isinstance(real, dict):
        keys = sorted((key for key in {*model, *real} if model.get(key) != real.get(key)), key=str)
        return [f"{name}[{key}] should be {model.get(key)!r} and is {real.get(key)!r}" for key in keys[:10]]
    if isinstance(model, frozenset):
        return [f"{name} lacks {sorted(model - real)!r}, has {sorted(real - model)!r} too much"]
    return [f"{name} should be {model!r} and is {real!r}"]
