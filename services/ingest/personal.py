"""What ingest has of a person: events in its log, and rejected events. Which are theirs is told by a predicate on texts."""

from collections.abc import AsyncIterator, Callable, Iterator
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

import msgspec

from libs.common.contracts.ingest import EVENTS
from libs.common.contracts.records import decode
from libs.common.db.pool import Tx
from libs.common.log.keyed_hash import mentions
from libs.common.log.redaction import NO_KEY
from libs.common.log.tables import relation

#: Records that are read at once.
PAGE = 2_000
_PAGE = f"""
SELECT "offset", key, value FROM {relation(EVENTS)} WHERE partition = $1 AND "offset" >= $2 ORDER BY "offset" LIMIT {PAGE}
"""
_REJECTED = "SELECT id, received_at, reason, body FROM ingest.rejected WHERE received_at <= $1"

#: Whether a text is one of the person's identifiers.
IsTheirs = Callable[[str], bool]


class _Ids(msgspec.Struct):
    userId: str | None = None
    anonymousId: str | None = None
    previousId: str | None = None


_ids = msgspec.json.Decoder(_Ids)


class Theirs(NamedTuple):
    """A page of the log: the person's records in it, by offset, and where the next page begins (None: there is none)."""

    records: dict[int, bytes]
    next: int | None


class RejectedEvent(NamedTuple):
    """An event that was refused."""

    id: UUID
    received_at: datetime
    reason: str
    body: bytes


async def page(tx: Tx, partition: int, first: int, until: datetime, is_theirs: IsTheirs) -> Theirs:
    """The person's events in the next page of a partition, of those received up to `until`."""
    rows = await tx.fetch(_PAGE, partition, first)
    records = {
        row["offset"]: bytes(row["value"])
        for row in rows
        if row["key"] != NO_KEY and _is_about(row["value"], row["key"], until, is_theirs)
    }
    return Theirs(records, rows[-1]["offset"] + 1 if len(rows) == PAGE else None)


async def rejected(tx: Tx, until: datetime, is_theirs: IsTheirs) -> AsyncIterator[RejectedEvent]:
    """Rejected events, received up to `until`, that name the person somewhere. `tx` is a transaction."""
    async for row in tx.cursor(_REJECTED, until):
        if mentions(row["body"], is_theirs):
            yield RejectedEvent(*row)


def _is_about(value: bytes, key: str, until: datetime, is_theirs: IsTheirs) -> bool:
    """Whether an event is about the person: by its user, else by its device; or by the earlier id of an alias."""
    try:
        envelope = decode(value)
        if envelope.recordedtime > until:
            return False
        texts = list(_about(_ids.decode(envelope.data)))
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return is_theirs(key) or mentions(value, is_theirs)
    return any(map(is_theirs, texts))


def _about(ids: _Ids) -> Iterator[str]:
    if ids.userId or ids.anonymousId:
        yield ids.userId or ids.anonymousId or ""
    if ids.previousId:
        yield ids.previousId
