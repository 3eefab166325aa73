"""What ingest reads: write keys, sources, rejected events and warnings."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

import asyncpg

from libs.common.db.pool import Tx
from libs.common.errors import NotFound


@dataclass(frozen=True)
class Grant:
    """What a write key allows: to send events as one source. `origins` are the browsers' origins, None means any.

    `through` is the id of the key, or of the inbound webhook that events come by. None as a limit means any number.
    `private_fields` are the source's, as JSON.
    """

    source_id: UUID
    source: str
    currency: str
    origins: frozenset[str] | None
    expires_at: datetime | None
    through: UUID
    events_per_second: int | None = None
    events_per_day: int | None = None
    private_fields: str | None = None

    def is_valid(self, now: datetime) -> bool:
        """Whether the key has not expired."""
        return self.expires_at is None or now < self.expires_at


async def grants(tx: Tx, hashes: Sequence[bytes]) -> dict[bytes, Grant]:
    """What those of the keys allow that exist, are not revoked and have not expired."""
    rows = await tx.fetch(
        "SELECT hash, source_id, name, default_currency, allowed_origins, expires_at, write_keys.id AS through,"
        " events_per_second, events_per_day, private_fields"
        " FROM ingest.write_keys JOIN ingest.sources ON sources.id = source_id"
        " WHERE hash = ANY($1::bytea[]) AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now())",
        list(hashes),
    )
    return {bytes(row["hash"]): _grant(row) for row in rows}


def _grant(row: asyncpg.Record) -> Grant:
    origins = row["allowed_origins"]
    return Grant(
        source_id=row["source_id"],
        source=row["name"],
        currency=row["default_currency"],
        origins=None if origins is None else frozenset(origins),
        expires_at=row["expires_at"],
        through=row["through"],
        events_per_second=row["events_per_second"],
        events_per_day=row["events_per_day"],
        private_fields=row["private_fields"],
    )


_SOURCES = "SELECT id, name, default_currency, allowed_origins, private_fields, created_at FROM ingest.sources"


async def sources(tx: Tx, after: str, limit: int) -> list[asyncpg.Record]:
    """Sources by name, those after the name `after`."""
    return await tx.fetch(f"{_SOURCES} WHERE name > $1 ORDER BY name LIMIT $2", after, limit)


async def source(tx: Tx, identity: UUID) -> asyncpg.Record:
    """One source. Raises NotFound."""
    row: asyncpg.Record | None = await tx.fetchrow(f"{_SOURCES} WHERE id = $1", identity)
    if row is None:
        raise NotFound(f"There is no source {identity}: GET /v1/sources lists them.")
    return row


async def keys(tx: Tx, identity: UUID, after: UUID, limit: int) -> list[asyncpg.Record]:
    """A source's write keys, oldest first."""
    return await tx.fetch(
        "SELECT id, prefix, created_at, expires_at, revoked_at, last_used_at, events_per_second, events_per_day"
        " FROM ingest.write_keys"
        " WHERE source_id = $1 AND id > $2 ORDER BY id LIMIT $3",
        identity,
        after,
        limit,
    )


async def key(tx: Tx, identity: UUID, key: UUID) -> asyncpg.Record:
    """One of a source's write keys. Raises NotFound."""
    found = await keys(tx, identity, UUID(int=key.int - 1) if key.int else key, 1)
    if not found or found[0]["id"] != key:
        raise NotFound(f"Source {identity} has no key {key}: GET /v1/sources/{identity}/keys lists them.")
    return found[0]


async def rejected(
    tx: Tx, name: str | None, event: str | None, replayed: bool | None, before: UUID, limit: int
) -> list[asyncpg.Record]:
    """Rejected events of one source and name (or of all), the newest first, those before the id `before`. Raises NotFound."""
    return await tx.fetch(
        "SELECT rejected.id, name AS source, received_at, reason, type, event, message_id, size, body, replayed_at, result"
        " FROM ingest.rejected JOIN ingest.sources ON sources.id = source_id"
        " WHERE ($1::uuid IS NULL OR source_id = $1) AND ($2::text IS NULL OR event = $2)"
        " AND ($3::boolean IS NULL OR (replayed_at IS NOT NULL) = $3) AND rejected.id < $4 ORDER BY rejected.id DESC LIMIT $5",
        None if name is None else await source_id(tx, name),
        event,
        replayed,
        before,
        limit,
    )


_REPLAYABLE = (
    "SELECT r.id, r.source_id, s.name AS source, s.default_currency, s.private_fields, r.received_at, r.type, r.message_id, r.size, r.body,"
    " r.imported, r.replayed_at, r.result FROM ingest.rejected r JOIN ingest.sources s ON s.id = r.source_id"
)


async def locked_rejected(tx: Tx, identity: UUID) -> asyncpg.Record:
    """One rejected event, locked, with what its replay needs. Raises NotFound."""
    row: asyncpg.Record | None = await tx.fetchrow(f"{_REPLAYABLE} WHERE r.id = $1 FOR UPDATE OF r", identity)
    if row is None:
        raise NotFound(f"There is no rejected event {identity}; GET /v1/rejected lists those of the last seven days.")
    return row


async def lock_rejected(
    tx: Tx, name: str | None, event: str | None, reason: str | None, after: UUID, limit: int
) -> list[asyncpg.Record]:
    """Rejected events that were not replayed and are whole, the oldest first, those after the id `after`, locked.
    Raises NotFound."""
    return await tx.fetch(
        f"{_REPLAYABLE} WHERE ($1::uuid IS NULL OR r.source_id = $1) AND ($2::text IS NULL OR r.event = $2)"
        " AND ($3::text IS NULL OR strpos(r.reason, $3) > 0) AND r.id > $4 AND r.replayed_at IS NULL"
        " AND octet_length(r.body) >= r.size ORDER BY r.id LIMIT $5 FOR UPDATE OF r",
        None if name is None else await source_id(tx, name),
        event,
        reason,
        after,
        limit,
    )


async def warnings(tx: Tx, name: str | None, before: UUID, limit: int) -> list[asyncpg.Record]:
    """Warnings of one source (or of all), the latest wording first, those before the id `before`. Raises NotFound."""
    return await tx.fetch(
        "SELECT warnings.id, name AS source, day, warning, events, last_at, example, event, message_id"
        " FROM ingest.warnings JOIN ingest.sources ON sources.id = source_id"
        " WHERE ($1::uuid IS NULL OR source_id = $1) AND warnings.id < $2 ORDER BY warnings.id DESC LIMIT $3",
        None if name is None else await source_id(tx, name),
        before,
        limit,
    )


async def only_counted(tx: Tx, name: str | None) -> int:
    """How many events of the last seven days were rejected without being kept."""
    counted: int = await tx.fetchval(
        "SELECT coalesce(sum(events), 0)::bigint FROM ingest.rejected_counts JOIN ingest.sources ON sources.id = source_id"
        " WHERE ($1::text IS NULL OR name = $1) AND hour > $2",
        name,
        datetime.now(UTC) - timedelta(days=7),
    )
    return counted


async def blocked_ids(tx: Tx) -> list[str]:
    """The workspace's own blocked ids, sorted."""
    return [row["value"] for row in await tx.fetch("SELECT value FROM ingest.blocked_ids ORDER BY value")]


async def source_id(tx: Tx, name: str) -> UUID:
    """The id of the source of this name. Raises NotFound."""
    found: UUID | None = await tx.fetchval("SELECT id FROM ingest.sources WHERE name = $1", name)
    if found is None:
        raise NotFound(f"There is no source named {name!r}: GET /v1/sources lists them.")
    return found
