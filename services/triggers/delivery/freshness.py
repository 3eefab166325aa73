"""Whether a message is still to be sent, and when, by the clock: it may be too late for it, or the night may have come."""

from datetime import datetime

import msgspec

from services.triggers.delivery.store import Row
from services.triggers.domain.hook import Limits, duration
from services.triggers.domain.quiet import Quiet


def too_late(row: Row, limits: Limits, now: datetime) -> str | None:
    """Why a message is no news any more. Asked before the first attempt only: later ones follow the schedule. That it
    waited for the end of quiet hours does not count."""
    due = max(row["occurred_at"], row["not_before"] or row["occurred_at"])
    late = now - due
    if row["attempts"] > 1 or limits.history or late <= duration(limits.freshness):
        return None
    behind = "the event" if row["not_before"] is None else "the quiet hours ended"
    return f"it could only be sent {late} after {behind}, and the hook takes {limits.freshness} at most"


def quiet_until(row: Row, limits: Limits, now: datetime) -> datetime | None:
    """The end of the quiet hours that it is in, for a message that would be sent now; None to go on with it."""
    if row["quiet_hours"] is None or row["status"] == "paused" or too_late(row, limits, now) is not None:
        return None
    return msgspec.json.decode(row["quiet_hours"], type=Quiet).until(now)
