"""A customer's timeline: the journal of a customer and of all who were merged into them."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal, NamedTuple
from uuid import UUID

import msgspec

from libs.common.contracts.events import TYPES, event_name
from libs.common.contracts.profile import JOURNAL
from libs.common.contracts.records import Envelope, display_name
from libs.common.contracts.records import decode as decode_record
from libs.common.db.pool import Tx
from libs.common.log.tables import relation
from services.profile.cursors import decoded, encoded, no_cursor, zoned
from services.profile.queries import state_of

#: So many records are looked at for a page, at most.
LOOKED_AT = 1_000
_CHUNK = 200
_TIMELINE = f"""
SELECT found.* FROM unnest($1::text[]) AS wanted(key) CROSS JOIN LATERAL (
  SELECT time, partition, "offset", value FROM {relation(JOURNAL)} AS journal
  WHERE journal.key = wanted.key AND ($2::timestamptz IS NULL OR (time, partition, "offset") < ($2, $3::int, $4::bigint))
  ORDER BY time DESC, partition DESC, "offset" DESC LIMIT $5
) AS found ORDER BY time DESC, partition DESC, "offset" DESC LIMIT $5
"""


class _Named(msgspec.Struct):
    event: str | None = None


_named = msgspec.json.Decoder(_Named)


class Filter(NamedTuple):
    """Which entries are wanted: events of apps or facts of services, and of some names only."""

    kind: Literal["event", "fact"] | None = None
    names: frozenset[str] = frozenset()

    @property
    def everything(self) -> bool:
        return self.kind is None and not self.names

    def wants(self, envelope: Envelope) -> bool:
        """Whether an entry is wanted."""
        if self.kind is not None and (self.kind == "event") != _of_app(envelope):
            return False
        return not self.names or _name(envelope) in self.names


class _Place(NamedTuple):
    """Where a record is in the timeline."""

    time: datetime
    partition: int
    offset: int


async def page(tx: Tx, id: UUID, limit: int, cursor: str | None, wanted: Filter) -> dict[str, Any]:
    """The newest first. It looks at a bounded number of records: a page may be short and yet have a `next`. Raises NotFound."""
    keys = [str(id), *(await state_of(tx, id)).merged]
    behind = _read_cursor(cursor) if cursor else None
    found: list[tuple[_Place, Envelope]] = []
    chunk, looked_at = (limit + 1 if wanted.everything else _CHUNK), 0
    while True:
        rows = await tx.fetch(_TIMELINE, keys, *(behind or (None, None, None)), chunk)
        looked_at += len(rows)
        for row in rows:
            behind = _Place(*row[:3])
            envelope = decode_record(row["value"])
            if wanted.wants(envelope):
                found.append((behind, envelope))
        if len(found) > limit:
            return _page(found[:limit], found[limit - 1][0])
        if len(rows) < chunk:
            return _page(found, None)
        if looked_at >= LOOKED_AT:
            return _page(found, behind)


def entry(envelope: Envelope) -> dict[str, Any]:
    """A record as an entry of the timeline."""
    data = msgspec.json.decode(envelope.data)
    data.pop("customer", None)
    return {
        "id": envelope.id,
        "type": envelope.type,
        "name": _name(envelope),
        "time": envelope.time,
        "received": envelope.recordedtime,
        "source": envelope.source,
        "cause": envelope.causationid,
        "data": data,
    }


def _of_app(envelope: Envelope) -> bool:
    return envelope.type in _EVENTS


_EVENTS = {type: kind for kind, type in TYPES.items()}


def _name(envelope: Envelope) -> str:
    if (kind := _EVENTS.get(envelope.type)) is None:
        return display_name(envelope.type)
    return event_name(kind, _named.decode(envelope.data).event)


def _page(found: Sequence[tuple[_Place, Envelope]], last: _Place | None) -> dict[str, Any]:
    return {
        "items": [entry(envelope) for _, envelope in found],
        "next": None if last is None else encoded(f"{last.time.isoformat()}|{last.partition}|{last.offset}"),
    }


def _read_cursor(cursor: str) -> _Place:
    try:
        time, partition, offset = decoded(cursor, 3)
        place = _Place(zoned(time), int(partition), int(offset))
        if not (0 <= place.partition < 2**31 and 0 <= place.offset < 2**63):
            raise ValueError("out of range")
    except ValueError as error:
        raise no_cursor() from error
    return place
