"""What is kept of a customer's badges."""

from datetime import datetime

import msgspec

from libs.common.fold.sections import Sectioned

#: The kind of section.
COUNTED = "counted"


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


class BadgesHeld(Sectioned, omit_defaults=True):
    """The progress of each badge; and in sections, for which badges each order counted (`COUNTED`, by the order), as long as it
    was not given back wholly."""

    progress: dict[str, Progress] = msgspec.field(default_factory=dict)

    def of(self, badge: str) -> Progress:
        """The progress of a badge; none yet, where nothing was counted."""
        return self.progress.get(badge) or Progress()


def awards(count: int, every: int, repeatable: bool) -> int:
    """How often a badge that takes `every` of something is earned by `count` of it."""
    times = max(0, count // every)
    return times if repeatable else min(1, times)
