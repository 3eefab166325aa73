"""Writes of segments and computed traits: what is live, as a rulebook; how far customers have been evaluated under it. Each takes
the caller's transaction and does not commit."""

from collections.abc import Sequence
from typing import NamedTuple
from uuid import UUID

import msgspec

from libs.common.db.pool import Tx
from libs.common.errors import Conflict
from libs.common.fold import rulebooks
from services.profile.computed.trait import ComputedTrait
from services.profile.documents import Documents
from services.profile.domain.journey import Journey
from services.profile.queries import customer_count
from services.profile.segments.rulebooks import content
from services.profile.segments.rules import LiveSegment, LiveTrait, Rulebook, book_of
from services.profile.segments.segment import Segment

MOST_LIVE = 2_000


async def put_in_force(tx: Tx, by: str) -> None:
    """Publish a rulebook of all live segments and computed traits, and begin to fill it. Raises Conflict when there are too many."""
    number = await rulebooks.newest(tx, "profile")
    await _publish(tx, by, number, await content(tx, number))


async def set_workspace(tx: Tx, by: str, journey: Journey, trait_groups: dict[str, list[str]]) -> None:
    """Publish a rulebook with these rules of the journey and groups of traits. No-op if they are in force."""
    number = await rulebooks.newest(tx, "profile")
    before = await content(tx, number)
    changed = msgspec.structs.replace(before, journey=journey, trait_groups=trait_groups)
    if changed != before:
        await _publish(tx, by, number, changed)


async def _publish(tx: Tx, by: str, number: int, before: Rulebook) -> None:
    begun = {(live.name, live.version): live.since for live in before.segments}
    segments = [
        LiveSegment(segment.name, version, segment.when, begun.get((segment.name, version), number + 1))
        for segment, version in await SEGMENTS.live(tx)
    ]
    traits = [LiveTrait(trait.name, trait.value) for trait, _ in await TRAITS.live(tx)]
    for noun, live in (("segments", segments), ("computed traits", traits)):
        if len(live) > MOST_LIVE:
            raise Conflict(f"{MOST_LIVE:,} {noun} are live, which is the most: archive one first.")
    total = await customer_count(tx)
    book = msgspec.json.encode(book_of(segments, traits, before, number + 1))
    await rulebooks.publish(tx, "profile", book, by)
    await tx.execute(
        'INSERT INTO profile.segment_fill (rulebook, total) VALUES ($1, $2) ON CONFLICT ("only") DO UPDATE'
        " SET rulebook = excluded.rulebook, total = excluded.total, behind = NULL, done = 0, started_at = now(),"
        " finished_at = NULL",
        number + 1,
        total,
    )


SEGMENTS: Documents[Segment] = Documents("segment", "segment", "/v1/segments", Segment, put_in_force)
TRAITS: Documents[ComputedTrait] = Documents(
    "computed trait", "computed_trait", "/v1/computed-traits", ComputedTrait, put_in_force
)


async def static_name(tx: Tx, id: UUID, *, lock: bool = False) -> tuple[str, int]:
    """The name and live version of a static segment; with `lock` it stays live until the transaction ends. Raises NotFound;
    Conflict when it is not static or not live."""
    row = await SEGMENTS.get(tx, id, lock=lock)
    if not SEGMENTS.content_of(row).static:
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
