"""Quiet hours: the part of a customer's day in which nothing is sent to them, by the clock on their wall."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import msgspec

#: No place sets its clock twice within so long.
_STEP = timedelta(hours=1)
#: What is looked through for the end: more than a day, as a zone may leave a whole one out.
_AHEAD = timedelta(hours=50)


class Quiet(msgspec.Struct, frozen=True, rename={"start": "from", "end": "to"}):
    """From `start` (with it) to `end` (without it), on the wall in `zone`; over midnight when it ends before it starts."""

    start: time
    end: time
    zone: str

    def holds(self, at: datetime) -> bool:
        """Whether it is quiet at a time."""
        wall = at.astimezone(ZoneInfo(self.zone)).time()
        if self.start <= self.end:
            return self.start <= wall < self.end
        return wall >= self.start or wall < self.end

    def until(self, at: datetime) -> datetime | None:
        """The first time from `at` on at which it is not quiet, in UTC; None when it is not quiet at all.

        A clock that is put on or back is minded: quiet hours end when the wall leaves them, however it does.
        """
        if not self.holds(at):
            return None
        ends = (each for each in sorted(self._ends(at)) if each > at and not self.holds(each))
        return next(ends, None)

    def _ends(self, at: datetime) -> Iterator[datetime]:
        """Every time at which it may end: the wall says `end` (once, twice or never a day), or the clock is set."""
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
                yield _set_at(before, after, zone)
            before = after

    def __str__(self) -> str:
        return f"{self.start:%H:%M} to {self.end:%H:%M}, {self.zone}"


def _set_at(before: datetime, after: datetime, zone: ZoneInfo) -> datetime:
    """The second at which the clock is set, which lies between the two."""
    offset = before.astimezone(zone).utcoffset()
    while after - before > timedelta(seconds=1):
        middle = before + timedelta(seconds=(after - before) // timedelta(seconds=2))
        if middle.astimezone(zone).utcoffset() == offset:
            before = middle
        else:
            after = middle
    return after
