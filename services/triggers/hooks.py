"""Writes of hooks: drafts, versions, publication. Each function takes the caller's transaction and does not commit."""

import base64
import secrets
from uuid import UUID

import msgspec

from libs.common.contracts.ids import fresh
from libs.common.db.pool import Tx
from libs.common.errors import Conflict, NotFound
from libs.common.fold import rulebooks
from libs.common.http.etag import refuse_stale
from services.triggers import queries
from services.triggers.domain.hook import Hook
from services.triggers.domain.rules import Live, Rulebook
from services.triggers.queries import Row

MOST_OLD_SECRETS = 3
"""Old secrets that may be valid at once: each adds a signature to the header."""


async def create(tx: Tx, hook: Hook, by: str) -> tuple[UUID, str | None]:
    """Create a draft. Returns its id, and the secret of its webhooks if it sends any. Raises Conflict when the name is taken."""
    id, secret = fresh(), _secret() if hook.action.channel == "webhook" else None
    status = await tx.execute(
        "INSERT INTO triggers.hooks (id, name, status, version, secret) VALUES ($1, $2, 'draft', 1, $3)"
        " ON CONFLICT (name) DO NOTHING",
        id,
        hook.name,
        secret,
    )
    _refuse_taken(status, hook.name)
    await _add_version(tx, id, 1, hook, by)
    return id, secret


def tag(row: Row) -> str:
    """The ETag of a hook."""
    return f'"{row["version"]}-{row["status"]}-{row["live_version"] or 0}"'


async def edit(tx: Tx, id: UUID, hook: Hook, by: str, if_match: str | None = None) -> str | None:
    """Add a version, as a draft, unless it equals the newest. Returns a secret if this made one.

    Raises NotFound, PreconditionFailed, Conflict.
    """
    row = await _locked(tx, id)
    if await queries.hook_content(tx, id, row["version"]) == hook:
        return None
    await _refuse_stale(tx, row, if_match)
    taken = await tx.fetchval("SELECT true FROM triggers.hooks WHERE name = $1 AND id <> $2", hook.name, id)
    _refuse_taken("INSERT 0 0" if taken else "", hook.name)
    secret = _secret() if hook.action.channel == "webhook" and row["secret"] is None else None
    version = row["version"] + 1
    await _add_version(tx, id, version, hook, by)
    await tx.execute(
        "UPDATE triggers.hooks SET name = $2, version = $3, secret = coalesce(secret, $4) WHERE id = $1",
        id,
        hook.name,
        version,
        secret,
    )
    return secret


async def publish(tx: Tx, id: UUID, by: str, if_match: str | None = None) -> None:
    """Put the newest version in force; no-op if it is. Raises NotFound, PreconditionFailed."""
    await _lock_workspace(tx)
    row = await _locked(tx, id)
    if row["status"] == "live" and row["live_version"] == row["version"]:
        return
    await _refuse_stale(tx, row, if_match)
    await _set(tx, id, "live", row["version"], None)
    await _put_in_force(tx, by, id)
    await tx.execute(
        "UPDATE triggers.hook_versions SET published_at = clock_timestamp(), published_by = $3"
        " WHERE hook = $1 AND version = $2 AND published_at IS NULL",
        id,
        row["version"],
        by,
    )


async def pause(tx: Tx, id: UUID, by: str, reason: str) -> None:
    """Take a live hook out of force; delivery withholds its queued messages. No-op if it is paused."""
    await _lock_workspace(tx)
    row = await _locked(tx, id)
    if row["status"] == "draft":
        raise Conflict("This hook was never published, so it cannot be paused.")
    if row["status"] == "live":
        await _set(tx, id, "paused", row["live_version"], reason)
        await _put_in_force(tx, by)


async def resume(tx: Tx, id: UUID, by: str) -> None:
    """Put the version that was live before the pause in force again."""
    await _lock_workspace(tx)
    row = await _locked(tx, id)
    if row["status"] == "draft":
        raise Conflict("This hook was never published: POST …/publish puts it in force.")
    if row["status"] == "paused":
        await _set(tx, id, "live", row["live_version"], None)
        await _put_in_force(tx, by, id)


async def rotate_secret(tx: Tx, id: UUID, overlap: int) -> str:
    """Make a new secret for a hook's webhooks. The old one stays valid for `overlap` seconds; 0 ends all old ones immediately.
    Raises NotFound; Conflict for a hook without webhooks, or with too many valid secrets."""
    row = await _locked(tx, id)
    if row["secret"] is None:
        raise Conflict("This hook never had a webhook, so it has no secret.")
    await tx.execute(
        "DELETE FROM triggers.old_secrets WHERE hook = $1 AND (valid_until <= now() OR $2)", id, overlap == 0
    )
    held = await tx.fetchval("SELECT count(*) FROM triggers.old_secrets WHERE hook = $1", id)
    if held >= MOST_OLD_SECRETS:
        raise Conflict(f"{held} old secrets are still valid: wait, or end them all with an overlap of 0.")
    if overlap:
        await tx.execute(
            "INSERT INTO triggers.old_secrets (hook, secret, valid_until)"
            " VALUES ($1, $2, now() + make_interval(secs => $3))",
            id,
            row["secret"],
            overlap,
        )
    secret = _secret()
    await tx.execute("UPDATE triggers.hooks SET secret = $2 WHERE id = $1", id, secret)
    return secret


async def set_workspace(tx: Tx, given: queries.Workspace, by: str) -> None:
    """Set the limits of all hooks, for records folded from now on. No-op if they are the same."""
    await _lock_workspace(tx)
    if await queries.workspace(tx) != given:
        hours = None if given.quiet_hours is None else given.quiet_hours.model_dump_json(by_alias=True)
        await tx.execute("UPDATE triggers.workspace SET daily_cap = $1, quiet_hours = $2", given.daily_cap, hours)
        await _put_in_force(tx, by)


async def _lock_workspace(tx: Tx) -> None:
    await tx.execute("SELECT 1 FROM triggers.workspace FOR UPDATE")


async def _locked(tx: Tx, id: UUID) -> Row:
    row: Row | None = await tx.fetchrow("SELECT * FROM triggers.hooks WHERE id = $1 FOR UPDATE", id)
    if row is None:
        raise NotFound(f"There is no hook {id}: GET /v1/hooks lists them.")
    return row


async def _refuse_stale(tx: Tx, row: Row, if_match: str | None) -> None:
    newest = await queries.hook(tx, row["id"])
    edited = f"edited by {newest['edited_by']} at {newest['edited_at']:%Y-%m-%d %H:%M:%S} UTC"
    detail = f"The hook has changed since you read it: it is {row['status']}, at version {row['version']}, {edited}."
    refuse_stale(if_match, tag(row), detail)


async def _set(tx: Tx, id: UUID, status: str, live_version: int, reason: str | None) -> None:
    await tx.execute(
        "UPDATE triggers.hooks SET status = $2, live_version = $3, paused_reason = $4,"
        " paused_at = CASE WHEN $2 = 'paused' THEN clock_timestamp() END WHERE id = $1",
        id,
        status,
        live_version,
        reason,
    )


async def _put_in_force(tx: Tx, by: str, new: UUID | None = None) -> None:
    """Publish all live hooks, as this transaction sees them, as the next rulebook; `new` is the hook that comes into force."""
    rows = await tx.fetch(
        "SELECT h.id, v.version, v.content FROM triggers.hooks h"
        " JOIN triggers.hook_versions v ON v.hook = h.id AND v.version = h.live_version"
        " WHERE h.status = 'live' ORDER BY h.id"
    )
    live = [Live(str(row["id"]), row["version"], msgspec.Raw(row["content"].encode())) for row in rows]
    limits = await queries.workspace(tx)
    hours = None if limits.quiet_hours is None else limits.quiet_hours.model_dump(by_alias=True)
    book = Rulebook(limits.daily_cap, live, hours)
    await rulebooks.publish(tx, "triggers", msgspec.json.encode(book), by)
    # after the lock of the positions: every record that is folded under this rulebook has a later clock time
    await tx.execute("UPDATE triggers.hooks SET in_force_at = clock_timestamp() WHERE id = $1", new)


async def _add_version(tx: Tx, id: UUID, version: int, hook: Hook, by: str) -> None:
    await tx.execute(
        "INSERT INTO triggers.hook_versions (hook, version, content, edited_by) VALUES ($1, $2, $3, $4)",
        id,
        version,
        hook.model_dump_json(by_alias=True),
        by,
    )


def _refuse_taken(status: str, name: str) -> None:
    if status == "INSERT 0 0":
        raise Conflict(f"Another hook is already named {name!r}: reports distinguish hooks by their names.")


def _secret() -> str:
    """A Standard Webhooks secret: 24 random bytes."""
    return f"whsec_{base64.b64encode(secrets.token_bytes(24)).decode()}"
