"""What is kept of a customer's badges."""

from datetime import datetime

import msgspec


class Progress(msgspec.Struct, array_like=True):
    """How far a customer is with a badge: what was counted, how often it was earned, and on which terms."""

    count: int = 0
    earned: int = 0
    every: int = 1
    repeatable: bool = False
    earned_at: datetime | None = None

    def kept(self, count: int) -> int:
        """How many awards `count` is worth on the terms on which it was earned."""
        return awards(count, self.every, self.repeatable)


class BadgesHeld(msgspec.Struct, omit_defaults=True):
    """The progress of each badge; and for which badges each order counted, as long as it was not given back wholly."""

    progress: dict[str, Progress] = {}
    orders: dict[str, list[str]] = {}

    def of(self, badge: str) -> Progress:
        """The progress of a badge; none yet, where nothing was counted."""
        return self.progress.get(badge) or Progress()


def awards(count: int, every: int, repeatable: bool) -> int:
    """How often a badge that takes `every` of something is earned by `count` of it."""
    times = max(0, count // every)
    return times if repeatable else min(1, times)
