"""Inbound webhooks in the database: read and written. Functions take the caller's transaction and do not commit."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

import asyncpg

from libs.common.contracts import ids
from libs.common.db.pool import Tx
from libs.common.errors import Conflict, NotFound
from services.ingest.inbound.signatures import Form
from services.ingest.queries import Grant

MOST_OLD_SECRETS = 3
"""Old secrets that may be valid at once."""

_SHOWN = "SELECT id, name, signature, secret_header, mapping, created_at FROM ingest.inbound_hooks"


@dataclass(frozen=True)
class Receiving:
    """What a delivery needs: how it is signed, with which secrets, what it becomes (`mapping`, as JSON), and whose it is."""

    signature: Form
    secret_header: str | None
    secrets: Sequence[str]
    mapping: str
    grant: Grant


async def receiving(tx: Tx, hook: UUID) -> Receiving:
    """An inbound webhook as a delivery needs it. Raises NotFound."""
    row = await tx.fetchrow(
        "SELECT h.signature, h.secret_header, h.secret, h.mapping, s.id, s.name, s.default_currency, s.private_fields,"
        " ARRAY(SELECT o.secret FROM ingest.old_inbound_secrets o WHERE o.hook_id = h.id AND o.valid_until > now()) AS old"
        " FROM ingest.inbound_hooks h JOIN ingest.sources s ON s.id = h.source_id WHERE h.id = $1",
        hook,
    )
    if row is None:
        raise NotFound("There is no such webhook here: check its address.")
    grant = Grant(
        row["id"], row["name"], row["default_currency"], None, None, hook, private_fields=row["private_fields"]
    )
    return Receiving(row["signature"], row["secret_header"], (row["secret"], *row["old"]), row["mapping"], grant)


async def page(tx: Tx, source: UUID, after: UUID, limit: int) -> list[asyncpg.Record]:
    """A source's inbound webhooks, oldest first, without their secrets."""
    return await tx.fetch(f"{_SHOWN} WHERE source_id = $1 AND id > $2 ORDER BY id LIMIT $3", source, after, limit)


async def one(tx: Tx, source: UUID, hook: UUID) -> asyncpg.Record:
    """One of them. Raises NotFound."""
    row: asyncpg.Record | None = await tx.fetchrow(f"{_SHOWN} WHERE source_id = $1 AND id = $2", source, hook)
    if row is None:
        raise _missing(source, hook)
    return row


async def add(
    tx: Tx, source: UUID, name: str, signature: Form, secret_header: str | None, secret: str, mapping: str
) -> UUID:
    """Add one to a source. Raises Conflict when the source has one of that name."""
    hook = ids.fresh()
    status = await tx.execute(
        "INSERT INTO ingest.inbound_hooks (id, source_id, name, signature, secret_header, secret, mapping)"
        " VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (source_id, name) DO NOTHING",
        hook,
        source,
        name,
        signature,
        secret_header,
        secret,
        mapping,
    )
    if status == "INSERT 0 0":
        raise _taken(name)
    return hook


async def change(tx: Tx, source: UUID, hook: UUID, changes: Mapping[str, str]) -> None:
    """Set its name, its mapping, or both. Raises NotFound, Conflict."""
    await one(tx, source, hook)
    if "name" in changes and await tx.fetchval(
        "SELECT true FROM ingest.inbound_hooks WHERE source_id = $1 AND name = $2 AND id <> $3",
        source,
        changes["name"],
        hook,
    ):
        raise _taken(changes["name"])
    await tx.execute(
        "UPDATE ingest.inbound_hooks SET name = coalesce($2, name), mapping = coalesce($3, mapping) WHERE id = $1",
        hook,
        changes.get("name"),
        changes.get("mapping"),
    )


async def replace_secret(tx: Tx, source: UUID, hook: UUID, secret: str, overlap: int) -> None:
    """Set a new secret; the old one is taken for `overlap` seconds more, 0 ends all old ones. Raises NotFound, Conflict."""
    old = await tx.fetchval(
        "SELECT secret FROM ingest.inbound_hooks WHERE source_id = $1 AND id = $2 FOR UPDATE", source, hook
    )
    if old is None:
        raise _missing(source, hook)
    await tx.execute(
        "DELETE FROM ingest.old_inbound_secrets WHERE hook_id = $1 AND (valid_until <= now() OR $2)", hook, overlap == 0
    )
    held = await tx.fetchval("SELECT count(*) FROM ingest.old_inbound_secrets WHERE hook_id = $1", hook)
    if held >= MOST_OLD_SECRETS:
        raise Conflict(f"{held} old secrets are still valid: wait, or end them all with an overlap of 0.")
    if overlap and old != secret:
        await tx.execute(
            "INSERT INTO ingest.old_inbound_secrets (hook_id, secret, valid_until)"
            " VALUES ($1, $2, now() + make_interval(secs => $3))"
            " ON CONFLICT (hook_id, secret) DO UPDATE SET valid_until = excluded.valid_until",
            hook,
            old,
            overlap,
        )
    await tx.execute("UPDATE ingest.inbound_hooks SET secret = $2 WHERE id = $1", hook, secret)


async def remove(tx: Tx, source: UUID, hook: UUID) -> None:
    """Take it away, with its secrets: what is posted to it is answered 404. Raises NotFound."""
    if (
        await tx.execute("DELETE FROM ingest.inbound_hooks WHERE source_id = $1 AND id = $2", source, hook)
        == "DELETE 0"
    ):
        raise _missing(source, hook)


def _missing(source: UUID, hook: UUID) -> NotFound:
    return NotFound(f"The source has no webhook {hook}: GET /v1/sources/{source}/hooks lists them.")


def _taken(name: str) -> Conflict:
    return Conflict(f"The source has a webhook named {name!r} already: choose another name.")
