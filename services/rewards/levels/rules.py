"""The levels of a programme, and which of them is reached."""

from collections.abc import Sequence

from pydantic import Field, StrictInt

from libs.common.contracts.rewards import LevelReached
from services.rewards.rules import Identified, Name


class Level(Identified):
    """Reached with so many qualifying points: those that rules gave, less those that refunds took back."""

    name: Name
    points: StrictInt = Field(ge=0, le=10**12)


def level_of(levels: Sequence[Level], qualifying: int) -> Level | None:
    """The highest level that so many qualifying points reach; None below the lowest."""
    return max((level for level in levels if level.points <= qualifying), key=lambda level: level.points, default=None)


def next_level(levels: Sequence[Level], qualifying: int) -> Level | None:
    """The lowest level that is not reached yet."""
    return min((level for level in levels if level.points > qualifying), key=lambda level: level.points, default=None)


def change_of(levels: Sequence[Level], current: str | None, qualifying: int) -> LevelReached | None:
    """The fact that the customer is in another level now; below the lowest, its id and name are empty."""
    reached = level_of(levels, qualifying)
    if (reached.id if reached else None) == current:
        return None
    if reached is None:
        return LevelReached(level="", name="", points=qualifying, up=False)
    before = next((level.points for level in levels if level.id == current), -1)
    return LevelReached(level=reached.id, name=reached.name, points=qualifying, up=reached.points > before)
