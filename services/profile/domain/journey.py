"""The journey of a customer: the stage that they are in, by rules that a workspace can change. Pure.

A stage follows from the state and the time. Nothing is stored, so it changes by itself when a customer is silent for so
many days, and no order of arrival matters.

visitor → lead (a userId or an e-mail address is known) → first_purchase → repeat → loyal (so many orders) → advocate (they
recommended the shop, and have bought). Who has bought and then is silent: at_risk → lapsed → left.
"""

from typing import Literal, NamedTuple, TypeAlias

import msgspec

from libs.common.contracts.profile import RelationshipKind
from services.profile.domain.state import Customer

Stage: TypeAlias = Literal[
    "visitor", "lead", "first_purchase", "repeat", "loyal", "advocate", "at_risk", "lapsed", "left"
]

DAY = 24 * 60 * 60 * 1_000_000
#: What may change the stage, by the names that conditions use.
READS = frozenset({"orders", "last_seen", "traits.email", "advocate", "identified"})


class Journey(msgspec.Struct, frozen=True):
    """The rules: the orders of the loyal, the events by which customers recommend, and days of silence."""

    loyal_orders: int = 5
    advocate_events: tuple[str, ...] = ("Product Shared", "Cart Shared", "Product Reviewed", "Invite Sent")
    at_risk_days: int = 60
    lapsed_days: int = 120
    left_days: int = 365

    @property
    def silences(self) -> tuple[tuple[int, Stage], ...]:
        """The stages of the silent, each from so many microseconds on; the longest silence first."""
        return (
            (self.left_days * DAY, "left"),
            (self.lapsed_days * DAY, "lapsed"),
            (self.at_risk_days * DAY, "at_risk"),
        )


class AsOf(NamedTuple):
    """A time in microseconds, and the rules in force."""

    now: int
    journey: Journey

    def stage(self, state: Customer) -> Stage:
        """The stage that a customer is in."""
        if not state.completed:
            email = state.traits.get("email")
            return "lead" if state.user is not None or (email is not None and not email.gone) else "visitor"
        silent = self.now - (state.last or 0)
        for silence, stage in self.journey.silences:
            if silent >= silence:
                return stage
        if state.advocate:
            return "advocate"
        if state.completed >= self.journey.loyal_orders:
            return "loyal"
        return "repeat" if state.completed > 1 else "first_purchase"

    def turns_at(self, state: Customer) -> int | None:
        """When the stage changes by itself; None if it will not."""
        if not state.completed or state.last is None:
            return None
        turns = [state.last + silence for silence, _ in self.journey.silences]
        return min((turn for turn in turns if turn > self.now), default=None)


class Relationship(NamedTuple):
    """What a customer's relationship is based on, and why in one sentence."""

    kind: RelationshipKind
    reason: str


def relationship(state: Customer, journey: Journey) -> Relationship:
    """What somebody said; else what follows from level and orders."""
    if state.relationship is not None:
        return Relationship(state.relationship.kind, state.relationship.reason)
    if state.standing.level is not None:
        return Relationship("loyalty_based", f"has the level {state.standing.level}")
    if state.completed >= journey.loyal_orders:
        return Relationship("loyalty_based", f"has ordered {state.completed} times")
    if state.completed:
        return Relationship("transactional", f"has ordered {'once' if state.completed == 1 else 'a few times'}")
    return Relationship("need_based", "has not ordered yet")
