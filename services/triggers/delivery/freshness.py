"""What the clock says of a queued message: whether it is too late for it, and whether quiet hours have begun."""

from datetime import datetime

import msgspec

from services.triggers.delivery.store import Row
from services.triggers.domain.hook import Limits, duration
from services.triggers.domain.quiet import Quiet


def too_late(row: Row, limits: Limits, now: datetime) -> str | None:
    """Why a message is too late, or None. It is checked before the first attempt only; later ones follow the schedule. The time
    that it waited for the end of quiet hours does not count."""
    due = max(row["occurred_at"], row["not_before"] or row["occurred_at"])
    late = now - due
    if row["attempts"] > 1 or limits.history or late <= duration(limits.freshness):
        return None
    behind = "the event" if row["not_before"] is None else "the quiet hours ended"
    return f"it could only be sent {late} after {behind}, and the hook accepts {limits.freshness} at most"


def quiet_until(row: Row, limits: Limits, now: datetime) -> datetime | None:
    """The end of the quiet hours in which a message would be sent now; None if it can go on."""
    if row["quiet_hours"] is None or row["status"] == "paused" or too_late(row, limits, now) is not None:
        return None
    return msgspec.json.decode(row["quiet_hours"], type=Quiet).until(now)
