"""An import, row by row: each batch is stored, then its refused rows are reported, then the checkpoint moves."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import msgspec

from deploy.importer.cells import Refused
from deploy.importer.checkpoint import Checkpoint
from deploy.importer.identity import MessageIds
from deploy.importer.ingest import Ingest
from deploy.importer.mapping import Events
from deploy.importer.report import Report
from deploy.importer.rows import Line, RowFile
from services.ingest.domain.limits import EVENT

BATCH = 500  # events
BYTES = 1_000_000  # of their JSON
_KINDS = 100  # of warnings that are counted apart

encode = msgspec.json.Encoder(decimal_format="number").encode


class Totals(NamedTuple):
    """What became of the rows of a file, those of earlier runs included."""

    stored: int
    refused: int
    warnings: dict[str, int]
    report: Path


class Importing:
    """One run. A kill at any moment loses nothing: what was stored behind the checkpoint is sent again with the same ids, and
    what was reported behind it is written anew."""

    def __init__(
        self,
        file: RowFile,
        events: Events,
        repeated: frozenset[int],
        ingest: Ingest,
        checkpoint: Checkpoint,
        path: Path,
        advance: Callable[[int], None],
    ) -> None:
        self._file = file
        self._events = events
        self._ids = MessageIds(repeated)
        self._ingest = ingest
        self._checkpoint = checkpoint
        self._path = path
        self._advance = advance
        self._lines: list[tuple[Line, bytes | str]] = []  # a row with its event, or with why it gives none
        self._sized = 0
        self._waiting = 0

    def run(self) -> Totals:
        """Import what is left. Raises LocalError when ingest refuses, or does not answer."""
        checkpoint = self._checkpoint
        path = self._file.path.with_name(f"{self._file.path.name}.refused.csv")
        with Report(path, checkpoint.report_bytes) as report:
            done = checkpoint.rows
            for position, line in enumerate(self._file.lines()):
                outcome = self._event(line)
                if position < done:
                    continue
                self._lines.append((line, outcome))
                if isinstance(outcome, bytes):
                    self._waiting += 1
                    self._sized += len(outcome)
                if self._waiting >= BATCH or self._sized >= BYTES or len(self._lines) >= 10 * BATCH:
                    self._settle(report)
            checkpoint.finished = f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"
            self._settle(report)
        return Totals(checkpoint.stored, checkpoint.refused, checkpoint.warnings, path)

    def _event(self, line: Line) -> bytes | str:
        """The event of a row as JSON, or why it gives none."""
        if line.fault:
            return line.fault
        own = self._events.own_id(line.row)
        id = own or self._ids.of(line.row)
        try:
            event = self._events.event(line.row)
            event["messageId"] = id
            written = encode(event)
        except (Refused, TypeError, ValueError) as reason:
            return str(reason)
        return (
            written if len(written) <= EVENT else f"the event has {len(written):,} bytes, at most {EVENT:,} are taken"
        )

    def _settle(self, report: Report) -> None:
        """Store what waits, report what is refused, and move the checkpoint behind both."""
        checkpoint = self._checkpoint
        events = [outcome for _, outcome in self._lines if isinstance(outcome, bytes)]
        results = iter(self._ingest.send(events) if events else ())
        for line, outcome in self._lines:
            reason = outcome if isinstance(outcome, str) else None
            if reason is None:
                result = next(results)
                reason = (result.reason or "rejected") if result.status == "rejected" else None
                if result.status == "warning":
                    self._warn(result.reason or "")
            if reason is None:
                checkpoint.stored += 1
            else:
                checkpoint.refused += 1
                report.add(line, reason)
        checkpoint.rows += len(self._lines)
        checkpoint.report_bytes = report.flush()
        checkpoint.save(self._path)
        self._advance(len(self._lines))
        self._lines, self._waiting, self._sized = [], 0, 0

    def _warn(self, reason: str) -> None:
        counts = self._checkpoint.warnings
        known = reason if reason in counts or len(counts) < _KINDS else "others"
        counts[known] = counts.get(known, 0) + 1
