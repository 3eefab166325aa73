"""Programmes as they are written: drafts, versions, and publishing one. Each takes the caller's transaction, and does not commit."""

from typing import Any
from uuid import UUID

import msgspec

from libs.common.contracts.ids import fresh
from libs.common.db.pool import Tx
from libs.common.errors import Conflict
from libs.common.fold import rulebooks
from libs.common.http.etag import refuse_stale
from services.rewards import wake_hints
from services.rewards.queries import Record, one, tag, unknown


async def create(tx: Tx, programme: Any, by: str) -> Record:
    """A new programme: version 1, a draft."""
    return await _insert(tx, fresh(), 1, programme, by)


async def edit(tx: Tx, id: UUID, programme: Any, by: str, if_match: str | None = None) -> Record:
    """Change the draft; where the newest version is published, it stays as it is and a new draft begins.

    Raises NotFound, PreconditionFailed; when the draft is so already, nothing is done.
    """
    newest = await _locked(tx, id)
    if newest["status"] == "draft" and newest["content"] == programme.model_dump_json():
        return await one(tx, id, newest["version"])
    _refuse_stale(newest, if_match)
    if newest["status"] != "draft":
        return await _insert(tx, id, newest["version"] + 1, programme, by)
    await tx.execute(
        "UPDATE rewards.programmes SET name = $3, content = $4, edited_by = $5,"
        " edited_at = greatest(clock_timestamp(), edited_at + interval '1 microsecond')"
        " WHERE id = $1 AND version = $2",
        id,
        newest["version"],
        programme.name,
        programme.model_dump_json(),
        by,
    )
    return await one(tx, id, newest["version"])


async def _insert(tx: Tx, id: UUID, version: int, programme: Any, by: str) -> Record:
    await tx.execute(
        "INSERT INTO rewards.programmes (id, version, status, name, content, edited_by)"
        " VALUES ($1, $2, 'draft', $3, $4, $5)",
        id,
        version,
        programme.name,
        programme.model_dump_json(),
        by,
    )
    return await one(tx, id, version)


async def _locked(tx: Tx, id: UUID) -> Record:
    """The newest version of a programme, which nobody else changes until the transaction ends. Raises NotFound."""
    await tx.execute("SELECT 1 FROM rewards.programmes WHERE id = $1 AND version = 1 FOR UPDATE", id)
    row = await tx.fetchrow(
        "SELECT * FROM rewards.programmes WHERE id = $1 ORDER BY version DESC LIMIT 1 FOR UPDATE", id
    )
    if row is None:
        raise unknown(id, None)
    return dict(row)


def _refuse_stale(row: Record, if_match: str | None) -> None:
    said = f"version {row['version']} ({row['status']}), edited by {row['edited_by']} at {row['edited_at']:%Y-%m-%d %H:%M:%S} UTC"
    refuse_stale(if_match, tag(row), f"The programme has changed since you read it: it is at {said}.")


async def publish(tx: Tx, id: UUID, by: str, if_match: str | None = None) -> Record:
    """Put the draft in force from the present position of every partition; the programme that was live is retired.

    Published again without a draft, the live version is answered as it is. Raises NotFound, PreconditionFailed, Conflict.
    """
    newest = await _locked(tx, id)
    version: int = newest["version"]
    if newest["status"] == "live":
        return await one(tx, id, version)
    _refuse_stale(newest, if_match)
    if newest["status"] == "retired":
        raise Conflict(f"version {version} of the programme is retired: PUT it again, which makes a draft to publish")
    book = {"programme": str(id), "version": version, "content": msgspec.Raw(newest["content"].encode())}
    number = await rulebooks.publish(tx, "rewards", msgspec.json.encode(book), by)
    await tx.execute("UPDATE rewards.programmes SET status = 'retired' WHERE status = 'live'")
    await tx.execute(
        "UPDATE rewards.programmes SET status = 'live', rulebook = $3, published_by = $4, published_at = now()"
        " WHERE id = $1 AND version = $2",
        id,
        version,
        number,
        by,
    )
    await wake_hints.declare(tx)
    return await one(tx, id, version)
