"""SQL for the routes: inboxes, what became of messages, last events, sums. Each takes the caller's connection."""

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from libs.common.db import Tx
from libs.common.errors import NotFound
from libs.common.fold.customers import Customers
from services.triggers.domain.state import Recipient

Row = Mapping[str, Any]

_INBOX = (
    "SELECT d.id, d.hook, h.name AS hook_name, d.title, d.text, d.event, d.occurred_at, d.settled_at AS sent_at, d.seen_at"
    " FROM triggers.deliveries d JOIN triggers.hooks h ON h.id = d.hook"
    " WHERE d.customer = $1 AND d.state = 'sent' AND d.channel = 'inbox'"
)


async def inbox(tx: Tx, customer: UUID, limit: int, before: tuple[datetime, UUID] | None) -> list[Row]:
    """A customer's inbox, the newest first; what was sent before the row (sent_at, id)."""
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
    """How many of a customer's messages are in which state."""
    rows = await tx.fetch(
        "SELECT state, count(*) AS messages FROM triggers.deliveries WHERE customer = $1 GROUP BY state", customer
    )
    return {"queued": 0, "sent": 0, "failed": 0, "withheld": 0} | {row["state"]: row["messages"] for row in rows}


async def customer(tx: Tx, customers: Customers[Recipient], ref: str) -> tuple[UUID, Recipient]:
    """Whom `ref` leads to, and as whom messages see them. Raises NotFound, also for an id that nobody has; Invalid."""
    found = await customers.resolve(tx, ref)
    state = await customers.state(tx, found)
    if state is None:
        raise NotFound(f"no customer {ref} is known to triggers: nothing has been received about them")
    return found, state


async def last_event(tx: Tx, customer: UUID, name: str | None) -> Row | None:
    """The last record of a name that a customer has, or of any name."""
    row: Row | None = await tx.fetchrow(
        "SELECT * FROM triggers.last_events WHERE customer = $1 AND ($2::text IS NULL OR name = $2)"
        " ORDER BY folded_at DESC LIMIT 1",
        customer,
        name,
    )
    return row


async def decision(tx: Tx, customer: UUID, hook: UUID, cause: str) -> Row | None:
    """What a hook decided on a record."""
    row: Row | None = await tx.fetchrow(
        "SELECT * FROM triggers.deliveries WHERE customer = $1 AND hook = $2 AND cause = $3", customer, hook, cause
    )
    return row


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
    """Messages by what became of them, of events up to the end of a day in `zone`; and the same by hook."""
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
