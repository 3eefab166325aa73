"""Writes of segments: drafts, versions, publication, members of static ones. Each takes the caller's transaction and does not
commit."""

from collections.abc import Sequence
from typing import NamedTuple
from uuid import UUID

import msgspec

from libs.common.contracts.ids import fresh
from libs.common.db.pool import Tx
from libs.common.errors import Conflict
from libs.common.fold import rulebooks
from libs.common.http.etag import refuse_stale
from services.profile.segments import queries
from services.profile.segments.queries import Row
from services.profile.segments.rulebooks import content
from services.profile.segments.rules import LiveSegment, book_of
from services.profile.segments.segment import Segment

MOST_LIVE = 2_000


def tag(row: Row) -> str:
    """The ETag of a segment."""
    return f'"{row["version"]}-{row["status"]}-{row["live_version"] or 0}"'


async def create(tx: Tx, segment: Segment, by: str) -> UUID:
    """Create a draft. Raises Conflict when the name is taken, also by an archived segment: rules may still name it."""
    id = fresh()
    status = await tx.execute(
        "INSERT INTO profile.segments (id, name, status, version) VALUES ($1, $2, 'draft', 1) ON CONFLICT (name) DO NOTHING",
        id,
        segment.name,
    )
    if status == "INSERT 0 0":
        raise Conflict(f"Another segment is, or was, named {segment.name!r}: rules know segments by their names.")
    await _add_version(tx, id, 1, segment, by)
    return id


async def edit(tx: Tx, id: UUID, segment: Segment, by: str, if_match: str | None = None) -> None:
    """Add a version, unless it equals the newest; the live one stays in force. Raises NotFound, PreconditionFailed, Conflict."""
    row = await queries.segment(tx, id, lock=True)
    refuse_stale(if_match, tag(row), "Somebody has changed this segment since.")
    known = queries.content_of(row)
    if known == segment:
        return
    if row["status"] == "archived":
        raise Conflict("This segment is archived: make a new one.")
    if (segment.name, segment.static) != (known.name, known.static):
        raise Conflict("A segment keeps its name, and stays static or not: rules know it so. Make a new one.")
    await _add_version(tx, id, row["version"] + 1, segment, by)
    await tx.execute("UPDATE profile.segments SET version = version + 1 WHERE id = $1", id)


async def publish(tx: Tx, id: UUID, by: str, if_match: str | None = None) -> None:
    """Put the newest version in force for what is folded from now on, and begin to evaluate all customers. No-op if it is.
    Raises NotFound, PreconditionFailed, Conflict."""
    await rulebooks.newest(tx, "profile")
    row = await queries.segment(tx, id, lock=True)
    refuse_stale(if_match, tag(row), "Somebody has changed this segment since.")
    if row["status"] == "archived":
        raise Conflict("This segment is archived: make a new one.")
    if row["live_version"] == row["version"]:
        return
    await tx.execute("UPDATE profile.segments SET status = 'live', live_version = version WHERE id = $1", id)
    await tx.execute(
        "UPDATE profile.segment_versions SET published_at = clock_timestamp(), published_by = $3"
        " WHERE segment = $1 AND version = $2",
        id,
        row["version"],
        by,
    )
    await _put_in_force(tx, by)


async def archive(tx: Tx, id: UUID, by: str) -> None:
    """Take a segment out of force for good; its members leave it. No-op if it is archived. Raises NotFound."""
    await rulebooks.newest(tx, "profile")
    row = await queries.segment(tx, id, lock=True)
    await tx.execute("UPDATE profile.segments SET status = 'archived', live_version = NULL WHERE id = $1", id)
    if row["status"] == "live":
        await _put_in_force(tx, by)


async def _put_in_force(tx: Tx, by: str) -> None:
    """Publish a rulebook of all live segments, and begin to fill it. The caller has locked out other publishers."""
    number = await rulebooks.newest(tx, "profile")
    before = await content(tx, number)
    known = {(live.name, live.version): live for live in before.segments}
    segments = []
    for row in await queries.live(tx):
        segment = queries.content_of(row)
        begun = known.get((segment.name, row["live_version"]))
        since = number + 1 if begun is None else begun.since
        segments.append(LiveSegment(segment.name, row["live_version"], segment.when, since))
    if len(segments) > MOST_LIVE:
        raise Conflict(f"{MOST_LIVE:,} segments are live, which is the most: archive one first.")
    total = await tx.fetchval("SELECT count(*) FROM profile.customers WHERE merged_into IS NULL")
    await rulebooks.publish(tx, "profile", msgspec.json.encode(book_of(segments, before, number + 1)), by)
    await tx.execute(
        'INSERT INTO profile.segment_fill (rulebook, total) VALUES ($1, $2) ON CONFLICT ("only") DO UPDATE'
        " SET rulebook = excluded.rulebook, total = excluded.total, behind = NULL, done = 0, started_at = now(),"
        " finished_at = NULL",
        number + 1,
        total,
    )


async def _add_version(tx: Tx, id: UUID, version: int, segment: Segment, by: str) -> None:
    await tx.execute(
        "INSERT INTO profile.segment_versions (segment, version, content, edited_by) VALUES ($1, $2, $3, $4)",
        id,
        version,
        segment.model_dump_json(),
        by,
    )


async def static_name(tx: Tx, id: UUID) -> tuple[str, int]:
    """The name and live version of a static segment. Raises NotFound; Conflict when it is not static or not live."""
    row = await queries.segment(tx, id)
    if not queries.content_of(row).static:
        raise Conflict("This segment finds its members by its condition: only those of a static one are uploaded.")
    if row["status"] != "live":
        raise Conflict("This segment is not live: POST …/publish puts it in force, then upload its members.")
    return row["name"], row["live_version"]


class FillPage(NamedTuple):
    """Customers to evaluate under a rulebook, who come after `behind`. None left: all have been."""

    rulebook: int
    behind: UUID | None
    ids: Sequence[UUID]


async def page_to_fill(tx: Tx, size: int) -> FillPage | None:
    """The customers who are to be evaluated next; None if all have been."""
    row = await tx.fetchrow("SELECT rulebook, behind FROM profile.segment_fill WHERE finished_at IS NULL")
    if row is None:
        return None
    ids = await tx.fetch(
        "SELECT id FROM profile.customers WHERE merged_into IS NULL AND ($1::uuid IS NULL OR id > $1) ORDER BY id LIMIT $2",
        row["behind"],
        size,
    )
    return FillPage(row["rulebook"], row["behind"], [each["id"] for each in ids])


async def filled(tx: Tx, page: FillPage) -> None:
    """Note that a page has been evaluated. No-op if another process did, or a newer rulebook was published."""
    where = "WHERE rulebook = $1 AND behind IS NOT DISTINCT FROM $2 AND finished_at IS NULL"
    if page.ids:
        await tx.execute(
            f"UPDATE profile.segment_fill SET behind = $3, done = done + $4 {where}",
            page.rulebook,
            page.behind,
            page.ids[-1],
            len(page.ids),
        )
    else:
        await tx.execute(
            f"UPDATE profile.segment_fill SET finished_at = clock_timestamp() {where}", page.rulebook, page.behind
        )
