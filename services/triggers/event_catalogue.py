"""The event catalogue: event names and properties seen, in a small table that is written only when something is new."""

from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime
from typing import Any

import msgspec

from libs.common.db import bulk
from libs.common.db.pool import Tx
from libs.common.fold.decider import Applied
from libs.common.log.partition import partition_of
from libs.common.rules.rule_event import RuleEvent
from services.triggers import models
from services.triggers.domain import event_catalogue
from services.triggers.domain.state import Recipient

_UPSERT = bulk.insert(
    models.event_catalogue,
    ("partition", "name", "path", "seen_at"),
    "ON CONFLICT (partition, name, path) DO UPDATE SET seen_at = greatest(event_catalogue.seen_at, excluded.seen_at)",
)
_SINCE = "SELECT DISTINCT path FROM triggers.event_catalogue WHERE name = $1 AND seen_at > $2"
_NAMES = "SELECT DISTINCT name FROM triggers.event_catalogue WHERE path = '' AND seen_at > $1"


class _Properties(msgspec.Struct):
    properties: dict[str, Any] = {}


_properties = msgspec.json.Decoder(_Properties)


class EventCatalogue:
    """A process' copy of the table, to the day. What a transaction writes joins the copy once it is committed."""

    def __init__(self, partitions: int) -> None:
        self._partitions = partitions
        self._known: dict[tuple[int, str], dict[str, date]] = {}
        self._written: dict[int, list[tuple[int, str, str, date]]] = {}

    async def learn(self, tx: Tx, applied: Sequence[Applied[Recipient]]) -> None:
        """Write names and property paths that are new today. Does not commit."""
        new: dict[tuple[int, str, str], date] = {}
        for each in applied:
            event, input = each.input.body, each.input
            if not isinstance(event, RuleEvent) or not event.of_app or len(event.name) > event_catalogue.LONGEST:
                continue
            partition, today = partition_of(str(each.customer), self._partitions), input.received.date()
            known = self._known.get((partition, event.name), {})
            for path in ("", *event_catalogue.paths(_properties.decode(event.data).properties)):
                seen = known.get(path)
                if seen is None and len(known) >= event_catalogue.MOST_PATHS:
                    continue
                if seen is None or seen < today:
                    new[partition, event.name, path] = today
        if not new:
            return
        rows = [
            (*key, datetime(day.year, day.month, day.day, 23, 59, 59, tzinfo=UTC)) for key, day in sorted(new.items())
        ]
        await tx.execute(_UPSERT, *bulk.transposed(rows))
        for key, day in new.items():
            self._written.setdefault(key[0], []).append((*key, day))

    def begin(self, partitions: Iterable[int]) -> None:
        """A batch of each partition begins: forget what an earlier one wrote and did not commit."""
        for partition in partitions:
            self._written.pop(partition, None)

    def committed(self, partitions: Iterable[int]) -> None:
        """The partitions' batches are committed: what they wrote is in the table."""
        for partition in partitions:
            for _, name, path, day in self._written.pop(partition, ()):
                self._known.setdefault((partition, name), {})[path] = day


async def names(tx: Tx) -> set[str]:
    """The event names of the last 30 days."""
    rows = await tx.fetch(_NAMES, datetime.now(UTC) - event_catalogue.SEEN_WITHIN)
    return {row["name"] for row in rows}


async def properties(tx: Tx, event: str) -> set[str]:
    """The property paths that an event has had in the last 30 days."""
    rows = await tx.fetch(_SINCE, event, datetime.now(UTC) - event_catalogue.SEEN_WITHIN)
    return {row["path"] for row in rows if row["path"]}
