"""Reads of segments: what they are, who is in them, how large they were; and what a version would say of a customer."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, NamedTuple
from uuid import UUID

from libs.common.db.pool import Tx
from libs.common.errors import Conflict, NotFound
from libs.common.rules.cel.condition import Condition, Operand, compile_condition
from libs.common.rules.cel.names import CUSTOMER
from libs.common.rules.cel.windows import Window
from services.profile.domain import state
from services.profile.domain.identity import LoadedCustomer
from services.profile.domain.journey import AsOf
from services.profile.domain.state import micros
from services.profile.queries import customer_count
from services.profile.segments.refresh import fill
from services.profile.segments.rulebooks import newest
from services.profile.segments.rules import CompiledSegment, LiveSegment, kept
from services.profile.segments.segment import Segment
from services.profile.segments.totals import value
from services.profile.segments.view import View

Row = Mapping[str, Any]
#: So many customers are tried at most for a preview; of more, the count is an estimate.
TRIED = 1_000
SAMPLES = 10

_TRY = "SELECT id, state, version, merged_into FROM profile.customers WHERE merged_into IS NULL"


class Verdict(NamedTuple):
    """Whether a customer meets a condition, why in one sentence, and each comparison with its values."""

    matched: bool
    because: str
    operands: Sequence[Operand]


@dataclass(frozen=True)
class Preview:
    """How many customers a version would have: counted of `tried` out of `total`; and some of them."""

    tried: int
    total: int
    matching: int
    samples: list[tuple[UUID, str | None, str]]

    @property
    def count(self) -> int:
        return round(self.matching / self.tried * self.total) if self.tried else 0


async def sizes(tx: Tx, names: Sequence[str]) -> dict[str, int]:
    """How many customers are in each of these segments now."""
    rows = await tx.fetch(
        "SELECT segment, count(*) FROM profile.members WHERE segment = ANY($1::text[]) GROUP BY segment", names
    )
    return {name: 0 for name in names} | {row[0]: row[1] for row in rows}


async def size_by_day(tx: Tx, name: str, since: date) -> list[tuple[date, int, int]]:
    """By day of the workspace's zone from `since` on: how many entered and exited."""
    rows = await tx.fetch(
        "SELECT day, coalesce(sum(count) FILTER (WHERE counter = $1), 0)::bigint,"
        " coalesce(sum(count) FILTER (WHERE counter = $2), 0)::bigint"
        " FROM profile.counters WHERE counter IN ($1, $2) AND day >= $3 GROUP BY day ORDER BY day",
        f"entered:{name}",
        f"exited:{name}",
        since,
    )
    return [(row[0], row[1], row[2]) for row in rows]


async def members(tx: Tx, name: str, limit: int, cursor: UUID | None) -> list[Row]:
    """Who is in a segment, by id."""
    rows: list[Row] = await tx.fetch(
        "SELECT m.customer, c.user_id, m.since FROM profile.members m JOIN profile.customers c ON c.id = m.customer"
        " WHERE m.segment = $1 AND ($2::uuid IS NULL OR m.customer > $2) ORDER BY m.customer LIMIT $3",
        name,
        cursor,
        limit,
    )
    return rows


async def every_member(tx: Tx, name: str) -> list[UUID]:
    """The ids of all members."""
    rows = await tx.fetch("SELECT customer FROM profile.members WHERE segment = $1 ORDER BY customer", name)
    return [row["customer"] for row in rows]


async def member_since(tx: Tx, name: str, customer: UUID) -> datetime | None:
    """Since when a customer has been in a live segment; None if they are not."""
    since: datetime | None = await tx.fetchval(
        "SELECT since FROM profile.members WHERE segment = $1 AND customer = $2", name, customer
    )
    return since


async def fill_progress(tx: Tx) -> Row | None:
    """How far the newest rulebook is filled; None if none was published."""
    row: Row | None = await tx.fetchrow(
        "SELECT rulebook, done, total, started_at, finished_at FROM profile.segment_fill"
    )
    return row


async def verdict(tx: Tx, segment: Segment, customer: UUID, now: datetime) -> Verdict:
    """What the condition of a segment says of a customer now, live or not. Raises NotFound; Conflict for a static one."""
    condition = _condition(segment)
    row = await tx.fetchrow("SELECT id, state, version, merged_into FROM profile.customers WHERE id = $1", customer)
    if row is None:
        raise NotFound(f"there is no customer {customer}")
    view = await _view(tx, segment, condition, row, AsOf(micros(now), (await newest(tx)).journey))
    return Verdict(
        condition.evaluate(view.activation).matched,
        condition.explain({}, view.customer),
        condition.operands({}, view.customer),
    )


async def preview(tx: Tx, segment: Segment, start: UUID, now: datetime) -> Preview:
    """Try the condition on customers from `start` (a random id) on, around the end. Raises Conflict for a static one."""
    condition = _condition(segment)
    total = await customer_count(tx)
    rows = await _some(tx, start, TRIED)
    as_of = AsOf(micros(now), (await newest(tx)).journey)
    matching = 0
    samples: list[tuple[UUID, str | None, str]] = []
    for row in rows:
        view = await _view(tx, segment, condition, row, as_of)
        if condition.evaluate(view.activation).matched:
            matching += 1
            if len(samples) < SAMPLES:
                user = state.decode(row["state"]).user
                samples.append((row["id"], user, condition.explain({}, view.customer)))
    return Preview(len(rows), max(total, len(rows)), matching, samples)


async def values(tx: Tx, window: Window, start: UUID, now: datetime) -> list[tuple[UUID, str | None, Any]]:
    """The value of a window for some customers from `start` (a random id) on, each with their id and userId."""
    found = []
    for row in await _some(tx, start, SAMPLES):
        loaded = await _counted(tx, [window], row, micros(now))
        total = loaded.state.windows[window.key]
        found.append((loaded.id, loaded.state.user, value(window, total)))
    return found


async def _some(tx: Tx, start: UUID, count: int) -> list[Row]:
    """Customers from an id on, around the end."""
    rows: list[Row] = await tx.fetch(f"{_TRY} AND id >= $1 ORDER BY id LIMIT $2", start, count)
    if len(rows) < count:
        rows += await tx.fetch(f"{_TRY} AND id < $1 ORDER BY id LIMIT $2", start, count - len(rows))
    return rows


def _condition(segment: Segment) -> Condition:
    if segment.when is None:
        raise Conflict("This segment is static: its members are those that were uploaded.")
    return compile_condition(segment.when, CUSTOMER)


async def _view(tx: Tx, segment: Segment, condition: Condition, row: Row, as_of: AsOf) -> View:
    """A customer as the condition sees them, with its windows counted from the journal."""
    loaded = await _counted(tx, condition.windows, row, as_of.now)
    live = LiveSegment(segment.name, 0, segment.when, 0)
    return View(loaded, [CompiledSegment(live, condition)], as_of)


async def _counted(tx: Tx, windows: Sequence[Window], row: Row, now: int) -> LoadedCustomer:
    """A customer with these windows, counted from the journal."""
    loaded = LoadedCustomer.stored(row["id"], state.decode(row["state"]), row["version"], row["merged_into"])
    loaded.state.windows = {}
    await fill(tx, loaded, [kept(window, 0) for window in windows], now)
    return loaded
