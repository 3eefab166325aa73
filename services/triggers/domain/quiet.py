"""Quiet hours: the part of a customer's local day in which nothing is sent to them."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import msgspec

#: No zone changes its clock twice within this time.
_STEP = timedelta(hours=1)
#: How far ahead to look for the end: more than a day, as a zone may skip a whole one.
_AHEAD = timedelta(hours=50)


class Quiet(msgspec.Struct, frozen=True, rename={"start": "from", "end": "to"}):
    """From `start` (inclusive) to `end` (exclusive), in the local time of `zone`; over midnight when it ends before it starts."""

    start: time
    end: time
    zone: str

    def holds(self, at: datetime) -> bool:
        """Whether `at` lies in the quiet hours."""
        local = at.astimezone(ZoneInfo(self.zone)).time()
        if self.start <= self.end:
            return self.start <= local < self.end
        return local >= self.start or local < self.end

    def until(self, at: datetime) -> datetime | None:
        """The first time after `at` that is not quiet, in UTC; None when `at` itself is not quiet.

        Changes of the clock count: quiet hours end when the local time leaves them, also by such a change.
        """
        if not self.holds(at):
            return None
        ends = (each for each in sorted(self._ends(at)) if each > at and not self.holds(each))
        return next(ends, None)

    def _ends(self, at: datetime) -> Iterator[datetime]:
        """All times at which they may end: the local time is `end` (once, twice or never a day), or the clock changes."""
        zone = ZoneInfo(self.zone)
        first = at.astimezone(zone).date().toordinal()
        for day in range(first, first + 4):
            for fold in (0, 1):
                yield datetime.combine(date.fromordinal(day), self.end, zone).replace(fold=fold).astimezone(UTC)
        before = at.astimezone(UTC).replace(microsecond=0)
        stop = before + _AHEAD
        while before < stop:
            after = before + _STEP
            if before.astimezone(zone).utcoffset() != after.astimezone(zone).utcoffset():
                yield _clock_change(before, after, zone)
            before = after

    def __str__(self) -> str:
        return f"{self.start:%H:%M} to {self.end:%H:%M}, {self.zone}"


def _clock_change(before: datetime, after: datetime, zone: ZoneInfo) -> datetime:
    """The second between the two at which the clock changes."""
    offset = before.astimezone(zone).utcoffset()
    while after - before > timedelta(seconds=1):
        middle = before + timedelta(seconds=(after - before) // timedelta(seconds=2))
        if middle.astimezone(zone).utcoffset() == offset:
            before = middle
        else:
            after = middle
    return after
