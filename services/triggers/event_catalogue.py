"""Which event names and properties were seen, in a small table that is written only when there is something new."""

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


class _Said(msgspec.Struct):
    properties: dict[str, Any] = {}


_said = msgspec.json.Decoder(_Said)


class EventCatalogue:
    """Knows what is in the table, to the day. What a transaction writes counts as known once it is committed."""

    def __init__(self, partitions: int) -> None:
        self._partitions = partitions
        self._known: dict[tuple[int, str], dict[str, date]] = {}
        self._written: dict[int, list[tuple[int, str, str, date]]] = {}

    async def learn(self, tx: Tx, applied: Sequence[Applied[Recipient]]) -> None:
        """Write the names and property paths that are new today. Does not commit."""
        new: dict[tuple[int, str, str], date] = {}
        for each in applied:
            happened, input = each.input.body, each.input
            if (
                not isinstance(happened, RuleEvent)
                or not happened.of_app
                or len(happened.name) > event_catalogue.LONGEST
            ):
                continue
            partition, today = partition_of(str(each.customer), self._partitions), input.received.date()
            known = self._known.get((partition, happened.name), {})
            for path in ("", *event_catalogue.paths(_said.decode(happened.data).properties)):
                seen = known.get(path)
                if seen is None and len(known) >= event_catalogue.MOST_PATHS:
                    continue
                if seen is None or seen < today:
                    new[partition, happened.name, path] = today
        if not new:
            return
        rows = [
            (*key, datetime(day.year, day.month, day.day, 23, 59, 59, tzinfo=UTC)) for key, day in sorted(new.items())
        ]
        await tx.execute(_UPSERT, *bulk.transposed(rows))
        for key, day in new.items():
            self._written.setdefault(key[0], []).append((*key, day))

    def begin(self, partitions: Iterable[int]) -> None:
        """A batch of each begins: what the one before wrote and did not commit is not known."""
        for partition in partitions:
            self._written.pop(partition, None)

    def committed(self, partitions: Iterable[int]) -> None:
        """What the partitions' batches wrote is in the table now."""
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
