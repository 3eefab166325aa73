"""Tracking plans in the database: drafts, versions, publication. Functions take the caller's transaction and do not commit."""

from collections.abc import Mapping
from typing import Any, NamedTuple
from uuid import UUID

from libs.common.contracts import ids
from libs.common.db.pool import Tx
from libs.common.errors import Conflict, NotFound
from libs.common.http.etag import refuse_stale
from services.ingest.plan.plan import TrackingPlan

Row = Mapping[str, Any]

_SHOWN = (
    "SELECT p.id, s.name AS source, p.status, p.version AS newest_version, v.version, p.live_version, p.created_at,"
    " v.content, v.edited_by, v.edited_at, v.published_by, v.published_at"
    " FROM ingest.tracking_plans p LEFT JOIN ingest.sources s ON s.id = p.source_id"
    " JOIN ingest.tracking_plan_versions v ON v.plan = p.id"
)
_OF = "p.source_id IS NOT DISTINCT FROM $1"
_CHANGED = "Somebody has changed this tracking plan since."


class InForce(NamedTuple):
    """A version that is live; `source` is None for the workspace's plan."""

    source: UUID | None
    plan: UUID
    version: int


def tag(row: Row) -> str:
    """The ETag of a plan."""
    return f'"{row["newest_version"]}-{row["status"]}-{row["live_version"] or 0}"'


def content_of(row: Row) -> TrackingPlan:
    """What a version says."""
    return TrackingPlan.model_validate_json(row["content"])


async def get(tx: Tx, source: UUID | None, version: int | None = None) -> Row:
    """The plan of a source (None: the workspace's) in its newest version, or in another. Raises NotFound."""
    row: Row | None = await tx.fetchrow(
        f"{_SHOWN} WHERE {_OF} AND v.version = coalesce($2, p.version)", source, version
    )
    if row is None:
        raise NotFound(
            "There is no such tracking plan, or no such version of it: PUT /v1/tracking-plan writes one, POST"
            " /v1/tracking-plan/infer drafts one from what has arrived."
        )
    return row


async def edit(tx: Tx, source: UUID | None, plan: TrackingPlan, by: str, if_match: str | None = None) -> None:
    """Add a version, as a draft, unless it equals the newest; the live one stays in force. Raises PreconditionFailed."""
    await tx.execute(
        "INSERT INTO ingest.tracking_plans (id, source_id, status, version) VALUES ($1, $2, 'draft', 0)"
        " ON CONFLICT (source_id) DO NOTHING",
        ids.fresh(),
        source,
    )
    (locked,) = await tx.fetch(f"SELECT * FROM ingest.tracking_plans p WHERE {_OF} FOR UPDATE", source)
    version: int = locked["version"]
    if version:
        row = await get(tx, source)
        refuse_stale(if_match, tag(row), _CHANGED)
        if content_of(row) == plan:
            return
    elif if_match is not None:
        refuse_stale(if_match, "", "There is no such tracking plan yet.")
    await tx.execute(
        "INSERT INTO ingest.tracking_plan_versions (plan, version, content, edited_by) VALUES ($1, $2, $3, $4)",
        locked["id"],
        version + 1,
        plan.model_dump_json(by_alias=True),
        by,
    )
    await tx.execute("UPDATE ingest.tracking_plans SET version = version + 1 WHERE id = $1", locked["id"])


async def newest(tx: Tx, source: UUID | None) -> TrackingPlan | None:
    """What the newest version says, locked; None if there is none."""
    await tx.execute(f"SELECT 1 FROM ingest.tracking_plans p WHERE {_OF} FOR UPDATE", source)
    row = await tx.fetchrow(f"{_SHOWN} WHERE {_OF} AND v.version = p.version", source)
    return None if row is None else content_of(row)


async def live(tx: Tx) -> TrackingPlan | None:
    """What the workspace's plan says that is in force."""
    row = await tx.fetchrow(f"{_SHOWN} WHERE p.source_id IS NULL AND p.status = 'live' AND v.version = p.live_version")
    return None if row is None else content_of(row)


async def publish(tx: Tx, source: UUID | None, by: str, if_match: str | None = None) -> None:
    """Put the newest version in force; no-op if it is. Raises NotFound, PreconditionFailed."""
    row = await _locked(tx, source, if_match)
    if row["status"] == "live" and row["live_version"] == row["version"]:
        return
    await tx.execute(
        "UPDATE ingest.tracking_plans SET status = 'live', live_version = version WHERE id = $1", row["id"]
    )
    await tx.execute(
        "UPDATE ingest.tracking_plan_versions SET published_at = clock_timestamp(), published_by = $3"
        " WHERE plan = $1 AND version = $2 AND published_at IS NULL",
        row["id"],
        row["version"],
        by,
    )


async def pause(tx: Tx, source: UUID | None, if_match: str | None = None) -> None:
    """Take the plan out of force; no-op if it is. Raises NotFound, PreconditionFailed, Conflict."""
    row = await _locked(tx, source, if_match)
    if row["status"] == "draft":
        raise Conflict("This tracking plan was never published, so it cannot be paused.")
    await tx.execute("UPDATE ingest.tracking_plans SET status = 'paused' WHERE id = $1", row["id"])


async def in_force(tx: Tx) -> list[InForce]:
    """The live plans, the workspace's first."""
    rows = await tx.fetch(
        "SELECT source_id, id, live_version FROM ingest.tracking_plans WHERE status = 'live'"
        " ORDER BY source_id NULLS FIRST"
    )
    return [InForce(row["source_id"], row["id"], row["live_version"]) for row in rows]


async def contents(tx: Tx, live: list[InForce]) -> dict[InForce, TrackingPlan]:
    """What these versions say."""
    rows = await tx.fetch(
        "SELECT v.plan, v.version, v.content FROM ingest.tracking_plan_versions v"
        " JOIN unnest($1::uuid[], $2::int[]) AS live(plan, version) USING (plan, version)",
        [each.plan for each in live],
        [each.version for each in live],
    )
    found = {(row["plan"], row["version"]): content_of(row) for row in rows}
    return {each: found[each.plan, each.version] for each in live}


async def _locked(tx: Tx, source: UUID | None, if_match: str | None) -> Row:
    await tx.execute(f"SELECT 1 FROM ingest.tracking_plans p WHERE {_OF} FOR UPDATE", source)
    row = await get(tx, source)
    refuse_stale(if_match, tag(row), _CHANGED)
    return row
