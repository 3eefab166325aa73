"""What became of requests, passed on to those who limit, count, list and show it."""

from dataclasses import dataclass
from datetime import datetime

from services.ingest.build_records import BuiltRecords, EventResult
from services.ingest.live.writer import LiveWriter
from services.ingest.metrics import Metrics
from services.ingest.plan.violations import ViolationCounts
from services.ingest.queries import Grant
from services.ingest.rejections import Refused, Rejections
from services.ingest.shared_ids import SharedIds
from services.ingest.usage.meter import UsageMeter
from services.ingest.warning_counts import WarningCounts


@dataclass(frozen=True)
class Results:
    """None of it waits: what is counted or listed is written in the background."""

    rejections: Rejections
    warned: WarningCounts
    violations: ViolationCounts
    live: LiveWriter
    shared: SharedIds
    usage: UsageMeter
    metrics: Metrics

    def admit(self, grant: Grant, events: int) -> None:
        """Raises TooMany when a limit of the write key is reached."""
        self.usage.admit(grant, events)

    def built(self, grant: Grant, received_at: datetime, built: BuiltRecords, imported: bool = False) -> None:
        """List what is rejected of a request, before the rest is stored. `imported` if it is history."""
        if built.refused:
            self.rejections.add(grant.source_id, received_at, built.refused, imported)

    def stored(self, grant: Grant, received_at: datetime, built: BuiltRecords) -> None:
        """Count a request whose records are in the log, and show it to who watches its source."""
        self.usage.count(grant, built)
        if self.metrics.answered(built.results, len(built.refused)):
            self.warned.add(grant.source_id, received_at, built)
        if built.violations:
            self.violations.add(grant.source_id, received_at, built.violations)
        if built.records:
            self.shared.look(grant.source_id, received_at, built.records[0])
        if grant.source_id in self.live.watched:
            self.live.note(grant.source_id, received_at, built)

    def unreadable(self, grant: Grant, received_at: datetime, refused: Refused) -> None:
        """List and show a body that is broken as a whole."""
        self.rejections.add(grant.source_id, received_at, [refused])
        if grant.source_id in self.live.watched:
            result = EventResult("rejected", refused.message_id, refused.reason)
            self.live.note(grant.source_id, received_at, BuiltRecords(results=[result], refused=[refused]))
