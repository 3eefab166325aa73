"""The section `points` of a programme: how long points are good."""

from datetime import UTC, datetime, timedelta, tzinfo
from typing import NamedTuple

from msgspec import UNSET, UnsetType
from pydantic import Field, StrictInt

from services.rewards.rules import Section


class Points(Section):
    """What holds for all points: those not spent within so many days of when they were earned are lost, at the end of the
    day (in the workspace's zone); those that are lost soonest are spent first. Without it points are good for ever.
    """

    expire_after_days: StrictInt | None = Field(default=None, ge=1, le=36_500, examples=[365])


class Validity(NamedTuple):
    """How many days points are good (None: for ever), by days of `zone`."""

    days: int | None = None
    zone: tzinfo = UTC


def good_until(validity: Validity, time: datetime) -> datetime | UnsetType:
    """Until when points that are earned at `time` are good: to the end of a day. UNSET: for ever."""
    if validity.days is None:
        return UNSET
    day = time.astimezone(validity.zone).date() + timedelta(days=validity.days + 1)
    return datetime(day.year, day.month, day.day, tzinfo=validity.zone).astimezone(UTC)
