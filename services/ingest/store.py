"""What ingest writes: sources, write keys, rejected events, warnings. The caller opens and commits the transaction."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import NamedTuple
from uuid import UUID

import asyncpg

from libs.common.contracts import ids
from libs.common.db import bulk
from libs.common.db.pool import Tx
from libs.common.errors import Conflict, NotFound
from services.ingest import models
from services.ingest.domain import keys

KEPT = timedelta(days=7)


class Rejected(NamedTuple):
    """An event that was refused; the columns of the table, in its order."""

    id: UUID
    source_id: UUID
    received_at: datetime
    reason: str
    type: str | None
    message_id: str | None
    size: int
    body: bytes
    event: str | None
    imported: bool


class Warned(NamedTuple):
    """A warning's count of one day, and its last example; the columns of the table, in its order."""

    source_id: UUID
    day: date
    warning: str
    id: UUID
    events: int
    last_at: datetime
    example: str
    event: str
    message_id: str


def storable(text: str, length: int = 1_000) -> str:
    """PostgreSQL's text holds neither NUL nor half a surrogate pair."""
    return text[:length].encode("utf-8", "replace").decode().replace("\0", "�")


async def add_source(
    tx: Tx, name: str, currency: str, origins: Sequence[str] | None, private_fields: str | None = None
) -> UUID:
    """Add a source, with its private fields as JSON; raises Conflict when there is one of that name."""
    source = ids.fresh()
    try:
        await tx.execute(
            "INSERT INTO ingest.sources (id, name, default_currency, allowed_origins, private_fields)"
            " VALUES ($1, $2, $3, $4, $5)",
            source,
            name,
            currency,
            origins,
            private_fields,
        )
    except asyncpg.UniqueViolationError:
        raise Conflict(
            f"There is a source named {name} already: GET /v1/sources lists them, POST /v1/sources/{{id}}/keys gives"
            " one of them another write key."
        ) from None
    return source


async def change_source(tx: Tx, source: UUID, changes: Mapping[str, object]) -> None:
    """Set columns of a source. Raises NotFound."""
    columns = [column for column in models.sources.c if column.name in changes]
    assignments = ", ".join(f"{column.name} = ${place}" for place, column in enumerate(columns, start=2))
    if columns:
        values = [changes[column.name] for column in columns]
        await tx.execute(f"UPDATE ingest.sources SET {assignments} WHERE id = $1", source, *values)
    await require_source(tx, source)


async def require_source(tx: Tx, source: UUID) -> None:
    """Raises NotFound when there is no such source."""
    if not await tx.fetchval("SELECT true FROM ingest.sources WHERE id = $1", source):
        raise NotFound(f"There is no source {source}: GET /v1/sources lists them.")


async def add_key(
    tx: Tx,
    source: UUID,
    expires_in: int | None,
    events_per_second: int | None = None,
    events_per_day: int | None = None,
) -> tuple[UUID, str]:
    """Give a source another write key, valid for `expires_in` seconds: (its id, the key, to be shown this once)."""
    key, identity = keys.make(), ids.fresh()
    expires_at = None if expires_in is None else datetime.now(UTC) + timedelta(seconds=expires_in)
    await tx.execute(
        "INSERT INTO ingest.write_keys (id, source_id, hash, prefix, expires_at, events_per_second, events_per_day)"
        " VALUES ($1, $2, $3, $4, $5, $6, $7)",
        identity,
        source,
        keys.digest(key),
        keys.shown(key),
        expires_at,
        events_per_second,
        events_per_day,
    )
    return identity, key


async def limit_key(tx: Tx, source: UUID, key: UUID, limits: Mapping[str, int | None]) -> bytes:
    """Set those limits of a write key that are named; returns its hash. Raises NotFound."""
    found: bytes | None = await tx.fetchval(
        "UPDATE ingest.write_keys SET"
        " events_per_second = CASE WHEN $3 THEN $4 ELSE events_per_second END,"
        " events_per_day = CASE WHEN $5 THEN $6 ELSE events_per_day END"
        " WHERE source_id = $1 AND id = $2 RETURNING hash",
        source,
        key,
        "events_per_second" in limits,
        limits.get("events_per_second"),
        "events_per_day" in limits,
        limits.get("events_per_day"),
    )
    if found is None:
        raise NotFound(f"Source {source} has no key {key}: GET /v1/sources/{source}/keys lists them.")
    return found


async def retire_key(tx: Tx, source: UUID, key: UUID, overlap: int) -> bytes:
    """Let a write key end in `overlap` seconds, or when it would have ended before that; returns its hash.

    Raises NotFound, or Conflict when it has ended already: then there is no overlap to be had.
    """
    row = await tx.fetchrow(
        "UPDATE ingest.write_keys SET expires_at = least(expires_at, now() + make_interval(secs => $3))"
        " WHERE source_id = $1 AND id = $2 RETURNING hash, revoked_at IS NOT NULL OR expires_at < now() AS ended",
        source,
        key,
        overlap,
    )
    if row is None:
        raise NotFound(f"The source has no write key {key}: GET /v1/sources/{source}/keys lists them.")
    if row["ended"]:
        raise Conflict(f"The write key {key} was revoked or has expired: leave `replaces` out.")
    return bytes(row["hash"])


async def note_used(tx: Tx, hashes: Sequence[bytes]) -> None:
    """These keys are in use: at most one write a minute and key."""
    await tx.execute(
        "UPDATE ingest.write_keys SET last_used_at = now() WHERE id IN (SELECT id FROM ingest.write_keys"
        " WHERE hash = ANY($1::bytea[]) AND (last_used_at IS NULL OR last_used_at < now() - interval '1 minute')"
        " ORDER BY id FOR UPDATE SKIP LOCKED)",
        list(hashes),
    )


async def revoke_key(tx: Tx, source: UUID, key: UUID) -> bytes:
    """Revoke a write key (again is harmless); returns its hash. Raises NotFound."""
    found: bytes | None = await tx.fetchval(
        "UPDATE ingest.write_keys SET revoked_at = coalesce(revoked_at, now()) WHERE source_id = $1 AND id = $2"
        " RETURNING hash",
        source,
        key,
    )
    if found is None:
        raise NotFound(f"Source {source} has no key {key}: GET /v1/sources/{source}/keys lists them.")
    return found


async def add_rejected(tx: Tx, events: Sequence[Rejected], counts: Mapping[tuple[UUID, datetime], int]) -> None:
    """Keep rejected events (again is harmless) and add to the hourly counts of those that are not kept."""
    if events:
        statement = bulk.insert(models.rejected, Rejected._fields, "ON CONFLICT DO NOTHING")
        await tx.execute(statement, *bulk.transposed(events))
    if counts:
        rows = [(source, hour, events_) for (source, hour), events_ in sorted(counts.items())]
        await tx.execute(bulk.add(models.rejected_counts, ("events",)), *bulk.transposed(rows))


async def note_replayed(tx: Tx, replayed: Sequence[tuple[UUID, datetime, str]]) -> None:
    """These rejected events were replayed and stored: their ids, when, and the results as JSON."""
    if replayed:
        await tx.execute(
            "UPDATE ingest.rejected SET replayed_at = new.at, result = new.result"
            " FROM unnest($1::uuid[], $2::timestamptz[], $3::text[]) AS new(id, at, result) WHERE rejected.id = new.id",
            *bulk.transposed(replayed),
        )


async def add_warnings(tx: Tx, warned: Sequence[Warned]) -> None:
    """Add to the counts of warnings; the newest example stays. `warned` is in the order of the key."""
    latest = ("example", "event", "message_id")
    statement = bulk.add_latest(models.warnings, Warned._fields, ("events",), "last_at", latest)
    await tx.execute(statement, *bulk.transposed(warned))


async def forget_old(tx: Tx, before: datetime) -> bool:
    """Delete some of the rejected events, warnings and violations from before `before`; returns whether there may be more."""
    await tx.execute("DELETE FROM ingest.rejected_counts WHERE hour < $1", before)
    await tx.execute("DELETE FROM ingest.warnings WHERE day < $1", before.date())
    await tx.execute("DELETE FROM ingest.violations WHERE day < $1", before.date())
    status = await tx.execute(
        "DELETE FROM ingest.rejected WHERE id IN"
        " (SELECT id FROM ingest.rejected WHERE received_at < $1 ORDER BY received_at LIMIT 5000 FOR UPDATE SKIP LOCKED)",
        before,
    )
    return status == "DELETE 5000"


async def replace_blocked_ids(tx: Tx, values: Iterable[str]) -> None:
    """Make these the workspace's own blocked ids. Of two at once, the later one stays whole."""
    await tx.execute("LOCK TABLE ingest.blocked_ids IN SHARE ROW EXCLUSIVE MODE")
    await tx.execute("DELETE FROM ingest.blocked_ids")
    await tx.execute("INSERT INTO ingest.blocked_ids SELECT unnest($1::text[])", sorted(set(values)))
