"""Redacts records: their place stays, their content goes."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from libs.common.contracts.profile import Redacted
from libs.common.contracts.records import encode
from libs.common.db.pool import Tx
from libs.common.log.tables import relation

#: In the envelope of a redacted record, before its data.
_MARK = b'"type":"%b"' % Redacted.TYPE.encode()
#: The key of redacted records in a topic whose keys are people's identifiers.
NO_KEY = "redacted"
#: Seconds that one redaction may take: it reads a whole topic.
LONGEST = 3_600


def redacted(erasure: UUID, at: datetime) -> bytes:
    """What stands in the place of every record of an erased customer."""
    id = str(erasure)
    return encode(id=id, source="/profile", type=Redacted.TYPE, time=at, recordedtime=at, data=Redacted(erasure=id))


def is_redacted(value: bytes) -> bool:
    """Whether a record is redacted. Looks only before `data`, which may hold anything."""
    return _MARK in value.partition(b'"data":')[0]


async def redact_keys(tx: Tx, topic: str, keys: Sequence[str], erasure: UUID, at: datetime, but: str = "") -> int:
    """Redact all records of these keys in this database, except those of type `but`. Returns how many there were, whether or
    not an earlier try has redacted them. Does not commit."""
    value = redacted(erasure, at)
    await tx.execute("SET LOCAL transaction_timeout = 0")  # the topics of facts have no index of keys
    status = await tx.execute(
        f"UPDATE {relation(topic)} SET value = $2 WHERE key = ANY($1::text[])"
        " AND ($3 = '' OR position(convert_to($3, 'UTF8') IN substring(value FOR 400)) = 0)",
        list(keys),
        value,
        f'"type":"{but}"' if but else "",
        timeout=LONGEST,
    )
    return int(status.removeprefix("UPDATE "))


async def redact_at(tx: Tx, topic: str, partition: int, offsets: Sequence[int], erasure: UUID, at: datetime) -> None:
    """Redact these records and their keys. Does not commit."""
    await tx.execute(
        f'UPDATE {relation(topic)} SET value = $3, key = $4 WHERE partition = $1 AND "offset" = ANY($2::bigint[])',
        partition,
        list(offsets),
        redacted(erasure, at),
        NO_KEY,
    )
