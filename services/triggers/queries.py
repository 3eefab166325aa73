"""Reads for routes: inboxes, messages and their outcomes, last events, sums, hooks. Each takes the caller's connection."""

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, NamedTuple
from uuid import UUID
from zoneinfo import ZoneInfo

import msgspec

from libs.common.db.pool import Tx
from libs.common.errors import NotFound
from libs.common.fold.customers import Customers
from services.triggers.domain.hook import Hook, QuietHours
from services.triggers.domain.state import Recipient

Row = Mapping[str, Any]
#: A customer, and the cursor (sent_at, id, count) after which a subscriber follows their inbox.
Followed = tuple[UUID, tuple[datetime, UUID, int]]

_INBOX = (
    "SELECT d.id, d.hook, h.name AS hook_name, d.title, d.text, d.event, d.occurred_at, d.settled_at AS sent_at, d.seen_at"
    " FROM triggers.deliveries d JOIN triggers.hooks h ON h.id = d.hook"
    " WHERE d.customer = $1 AND d.state = 'sent' AND d.channel = 'inbox'"
)


async def inbox(tx: Tx, customer: UUID, limit: int, before: tuple[datetime, UUID] | None) -> list[Row]:
    """A customer's inbox, the newest first; only messages before the row (sent_at, id), if one is given."""
    at, id = before or (None, None)
    rows: list[Row] = await tx.fetch(
        f"{_INBOX} AND ($2::timestamptz IS NULL OR (d.settled_at, d.id) < ($2, $3::uuid))"
        " ORDER BY d.settled_at DESC, d.id DESC LIMIT $4",
        customer,
        at,
        id,
        limit,
    )
    return rows


async def message(tx: Tx, customer: UUID, id: UUID) -> Row:
    """One message of a customer's inbox. Raises NotFound."""
    row: Row | None = await tx.fetchrow(f"{_INBOX} AND d.id = $2", customer, id)
    if row is None:
        raise NotFound(f"There is no message {id} in the inbox of this customer.")
    return row


async def messages(tx: Tx, customer: UUID) -> dict[str, int]:
    """How many of a customer's messages are in each state."""
    rows = await tx.fetch(
        "SELECT state, count(*) AS messages FROM triggers.deliveries WHERE customer = $1 GROUP BY state", customer
    )
    return {"queued": 0, "sent": 0, "failed": 0, "withheld": 0} | {row["state"]: row["messages"] for row in rows}


async def customer(tx: Tx, customers: Customers[Recipient], ref: str) -> tuple[UUID, Recipient]:
    """The customer that `ref` leads to, and their state. Raises Invalid; NotFound, also for an id that no customer has."""
    found = await customers.resolve(tx, ref)
    state = await customers.state(tx, found)
    if state is None and await last_event(tx, found, None) is None:
        raise NotFound(f"no customer {ref} is known to triggers: nothing has been received about them")
    return found, state or Recipient()


async def last_event(tx: Tx, customer: UUID, name: str | None) -> Row | None:
    """A customer's last record of a name, or of any name."""
    row: Row | None = await tx.fetchrow(
        "SELECT * FROM triggers.last_events WHERE customer = $1 AND ($2::text IS NULL OR name = $2)"
        " ORDER BY folded_at DESC LIMIT 1",
        customer,
        name,
    )
    return row


async def decision(tx: Tx, customer: UUID, hook: UUID, cause: str) -> Row | None:
    """The message that a hook made of a record."""
    row: Row | None = await tx.fetchrow(
        "SELECT * FROM triggers.deliveries WHERE customer = $1 AND hook = $2 AND cause = $3", customer, hook, cause
    )
    return row


async def has_tombstone(tx: Tx, id: UUID) -> bool:
    """Whether a message of this id was deleted."""
    return await tx.fetchval("SELECT true FROM triggers.message_tombstones WHERE id = $1", id) is not None


async def last_sent(tx: Tx, customer: UUID, hook: UUID) -> Row | None:
    """The last message of a hook that reached the customer."""
    row: Row | None = await tx.fetchrow(
        "SELECT * FROM triggers.deliveries WHERE customer = $1 AND hook = $2 AND state = 'sent'"
        " ORDER BY settled_at DESC LIMIT 1",
        customer,
        hook,
    )
    return row


async def summary(tx: Tx, until: date | None, zone: ZoneInfo) -> dict[str, Any]:
    """Messages by outcome, of events up to the end of a day in `zone`; and the same by hook."""
    end = None
    if until is not None and until < date.max - timedelta(days=1):
        end = datetime.combine(until + timedelta(days=1), time(), zone).astimezone(UTC)
    rows = await tx.fetch(
        "SELECT h.name, d.state, d.reason, count(*) AS messages, count(d.seen_at) AS seen"
        " FROM triggers.deliveries d JOIN triggers.hooks h ON h.id = d.hook"
        " WHERE $1::timestamptz IS NULL OR d.occurred_at < $1 GROUP BY 1, 2, 3 ORDER BY 1, 2, 3",
        end,
    )
    by_hook: dict[str, dict[str, Any]] = {name: _none() for name in await _names(tx)}
    for row in rows:
        _add(by_hook[row["name"]], row)
    return {**_total(by_hook.values()), "by_hook": by_hook}


async def _names(tx: Tx) -> Sequence[str]:
    rows = await tx.fetch("SELECT name FROM triggers.hooks WHERE status <> 'draft' ORDER BY id")
    return [row["name"] for row in rows]


def _none() -> dict[str, Any]:
    return {"queued": 0, "sent": 0, "seen": 0, "failed": 0, "withheld": {}}


def _add(sums: dict[str, Any], row: Row) -> None:
    if row["state"] == "withheld":
        sums["withheld"][row["reason"]] = sums["withheld"].get(row["reason"], 0) + row["messages"]
    else:
        sums[row["state"]] += row["messages"]
    sums["seen"] += row["seen"]


def _total(parts: Any) -> dict[str, Any]:
    total = _none()
    for part in parts:
        for name in ("queued", "sent", "seen", "failed"):
            total[name] += part[name]
        for reason, messages in part["withheld"].items():
            total["withheld"][reason] = total["withheld"].get(reason, 0) + messages
    return total


# -- hooks ------------------------------------------------------------------------------------------------------------
_HOOK = (
    "SELECT h.*, v.content, v.edited_by, v.edited_at, live.published_at, live.published_by, first.published_at AS first_at"
    " FROM triggers.hooks h JOIN triggers.hook_versions v ON v.hook = h.id AND v.version = h.version"
    " LEFT JOIN triggers.hook_versions live ON live.hook = h.id AND live.version = h.live_version"
    " LEFT JOIN LATERAL (SELECT min(published_at) AS published_at FROM triggers.hook_versions"
    " WHERE hook = h.id) first ON true"
)


async def hooks(tx: Tx, limit: int, cursor: UUID | None) -> list[Row]:
    """Hooks in their newest version, the oldest hook first."""
    rows: list[Row] = await tx.fetch(
        f"{_HOOK} WHERE $2::uuid IS NULL OR h.id > $2 ORDER BY h.id LIMIT $1", limit, cursor
    )
    return rows


async def hook(tx: Tx, id: UUID) -> Row:
    """A hook in its newest version. Raises NotFound."""
    row: Row | None = await tx.fetchrow(f"{_HOOK} WHERE h.id = $1", id)
    if row is None:
        raise NotFound(f"There is no hook {id}: GET /v1/hooks lists them.")
    return row


async def versions(tx: Tx, id: UUID) -> list[Row]:
    """All versions of a hook, the newest first."""
    rows: list[Row] = await tx.fetch("SELECT * FROM triggers.hook_versions WHERE hook = $1 ORDER BY version DESC", id)
    return rows


async def hook_content(tx: Tx, id: UUID, version: int) -> Hook:
    """One version of a hook. Raises NotFound."""
    found = await tx.fetchval(
        "SELECT content FROM triggers.hook_versions WHERE hook = $1 AND version = $2", id, version
    )
    if found is None:
        raise NotFound(f"The hook {id} has no version {version}.")
    return Hook.model_validate_json(found)


class Workspace(NamedTuple):
    """The limits of all hooks: how many messages a customer gets a day (None is any number), and when none is sent."""

    daily_cap: int | None
    quiet_hours: QuietHours | None


async def workspace(tx: Tx) -> Workspace:
    """The limits of all hooks."""
    (row,) = await tx.fetch("SELECT daily_cap, quiet_hours FROM triggers.workspace")
    hours = row["quiet_hours"]
    return Workspace(row["daily_cap"], None if hours is None else QuietHours.model_validate_json(hours))


# -- streams ------------------------------------------------------------------------------------------------------------
_SENT = "customer = f.customer AND state = 'sent' AND channel = 'inbox'"
_FOLLOWED = "unnest($1::int[], $2::uuid[], $3::timestamptz[], $4::uuid[]) AS f(number, customer, at, id)"


async def newest(tx: Tx, customer: UUID) -> Row | None:
    """The newest message of an inbox, and how many it has."""
    row: Row | None = await tx.fetchrow(
        "SELECT settled_at AS sent_at, id, count(*) OVER () AS count FROM triggers.deliveries"
        " WHERE customer = $1 AND state = 'sent' AND channel = 'inbox' ORDER BY settled_at DESC, id DESC LIMIT 1",
        customer,
    )
    return row


async def come(tx: Tx, followed: Sequence[Followed], limit: int) -> dict[int, list[Row]]:
    """For each (customer, cursor), by its number, the messages after it in order, at most `limit`."""
    found: dict[int, list[Row]] = {}
    for row in await tx.fetch(
        f"SELECT f.number, h.name AS hook_name, d.* FROM {_FOLLOWED} CROSS JOIN LATERAL ("
        " SELECT id, hook, title, text, event, occurred_at, settled_at AS sent_at, seen_at FROM triggers.deliveries"
        f" WHERE {_SENT} AND (settled_at, id) > (f.at, f.id) ORDER BY settled_at, id LIMIT $5"
        ") AS d JOIN triggers.hooks AS h ON h.id = d.hook ORDER BY f.number, d.sent_at, d.id",
        *_columns(followed),
        limit,
    ):
        found.setdefault(row["number"], []).append(row)
    return found


async def before(tx: Tx, followed: Sequence[Followed]) -> list[int]:
    """How many messages each inbox has up to the cursor."""
    rows = await tx.fetch(
        f"SELECT (SELECT count(*) FROM triggers.deliveries WHERE {_SENT} AND (settled_at, id) <= (f.at, f.id)) AS count"
        f" FROM {_FOLLOWED} ORDER BY f.number",
        *_columns(followed),
    )
    return [row["count"] for row in rows]


async def survivors(tx: Tx, customers: Sequence[UUID]) -> dict[UUID, UUID]:
    """The survivors of those of the customers that were merged."""
    rows = await tx.fetch(
        "SELECT id, merged_into FROM triggers.customers WHERE id = ANY($1::uuid[]) AND merged_into IS NOT NULL",
        customers,
    )
    return {row["id"]: row["merged_into"] for row in rows}


def message_json(row: Row) -> bytes:
    """An inbox message as JSON, as the inbox route answers it."""
    names = ("id", "hook", "hook_name", "title", "text", "event", "occurred_at", "sent_at", "seen_at")
    return msgspec.json.encode({name: row[name] for name in names}, enc_hook=str)


def _columns(followed: Sequence[Followed]) -> tuple[list[Any], ...]:
    return (list(range(len(followed))), [customer for customer, _ in followed],
            [place[0] for _, place in followed], [place[1] for _, place in followed])  # fmt: skip
