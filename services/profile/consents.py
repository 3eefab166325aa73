"""The history of consent: one row for each statement, with its proof. Rows never change.

A row keeps the customer who made the statement, so a merge moves nothing: reads take the customer and all who were
merged into them, as a timeline does.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple, Protocol
from uuid import UUID

from libs.common.contracts.consent import key_of, parts_of
from libs.common.db import bulk
from libs.common.db.pipeline import AnyTx
from libs.common.db.pool import Tx
from services.profile import models
from services.profile.cursors import decoded, encoded, no_cursor, zoned
from services.profile.domain.consent import Proof, Statement, statuses
from services.profile.domain.state import Customer

_COLUMNS = tuple(column.name for column in models.consents.columns)
_INSERT = bulk.insert(models.consents, _COLUMNS, "ON CONFLICT DO NOTHING")
_LATEST = """
SELECT DISTINCT ON (purpose, channel, status) * FROM profile.consents
WHERE customer = ANY($1::uuid[]) AND ($2::text IS NULL OR purpose = $2)
ORDER BY purpose, channel, status, at DESC, record DESC
"""
_HISTORY = """
SELECT * FROM profile.consents WHERE customer = ANY($1::uuid[]) AND purpose = $2
  AND ($3::timestamptz IS NULL OR (at, record, channel) < ($3, $4::uuid, $5::text))
ORDER BY at DESC, record DESC, channel DESC LIMIT $6
"""


class ConsentRow(NamedTuple):
    """A row of the history: its columns in their order."""

    customer: UUID
    purpose: str
    at: datetime
    record: UUID
    channel: str
    status: str
    carried: bool
    recorded_at: datetime
    source: str
    text_version: str | None
    by: str | None


class Stated(Protocol):
    """What made a statement: an event or a command."""

    @property
    def id(self) -> UUID: ...
    @property
    def at(self) -> datetime: ...
    @property
    def received(self) -> datetime: ...


def row(customer: UUID, cause: Stated, statement: Statement, proof: Proof) -> ConsentRow:
    """The row of a statement that an event or command made."""
    purpose, channel = parts_of(statement.key)
    return ConsentRow(
        customer, purpose, cause.at, cause.id, channel, statement.status, statement.carried, cause.received, *proof
    )


async def save(tx: AnyTx, rows: Sequence[ConsentRow]) -> None:
    """Add rows to the history. Does not commit."""
    if rows:
        await tx.execute(_INSERT, *bulk.transposed(rows))


async def current(tx: Tx, id: UUID, customer: Customer, purpose: str | None = None) -> list[dict[str, Any]]:
    """What holds for each purpose and channel, with the latest statement that says so (none if it follows from a statement
    about all channels)."""
    rows = await tx.fetch(_LATEST, _ids(id, customer), purpose)
    latest = {(key_of(each["purpose"], each["channel"]), each["status"]): each for each in rows}
    return [
        {**dict(zip(("purpose", "channel"), parts_of(key), strict=True)), "status": status,
         "proof": None if (found := latest.get((key, status))) is None else _proof(found)}
        for key, status in statuses(customer.consent).items() if purpose in (None, parts_of(key)[0])
    ]  # fmt: skip


async def history(tx: Tx, id: UUID, customer: Customer, purpose: str, limit: int, cursor: str | None) -> dict[str, Any]:
    """All statements about a purpose, the latest first. Raises Invalid for a wrong cursor."""
    rows = await tx.fetch(_HISTORY, _ids(id, customer), purpose, *_read_cursor(cursor), limit + 1)
    last = rows[limit - 1] if len(rows) > limit else None
    return {
        "items": [{"channel": each["channel"], "status": each["status"], **_proof(each)} for each in rows[:limit]],
        "next": None if last is None else encoded(f"{last['at'].isoformat()}|{last['record']}|{last['channel']}"),
    }


def _ids(id: UUID, customer: Customer) -> list[UUID]:
    return [id, *(UUID(other) for other in customer.merged)]


def _proof(row: Any) -> dict[str, Any]:
    return {name: row[name] for name in ("at", "recorded_at", "source", "text_version", "by", "record", "carried")}


def _read_cursor(cursor: str | None) -> tuple[datetime | None, UUID | None, str | None]:
    if cursor is None:
        return None, None, None
    try:
        at, record, channel = decoded(cursor, 3)
        return zoned(at), UUID(record), channel
    except ValueError as error:
        raise no_cursor() from error
