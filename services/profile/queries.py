"""Profile's reads for routes, without locks."""

import base64
from datetime import date, datetime
from typing import Any
from uuid import UUID

import msgspec

from libs.common.contracts.events import TYPES, event_name
from libs.common.contracts.money import Money, major
from libs.common.contracts.orders import Back
from libs.common.contracts.profile import JOURNAL
from libs.common.contracts.records import decode as decode_record
from libs.common.contracts.records import display_name
from libs.common.db.pool import Tx
from libs.common.errors import Invalid, NotFound
from libs.common.log.tables import relation
from services.profile.domain import state
from services.profile.domain.state import ORDER, Customer, moment

_TIMELINE = f"""
SELECT found.* FROM unnest($1::text[]) AS wanted(key) CROSS JOIN LATERAL (
  SELECT time, partition, "offset", value FROM {relation(JOURNAL)} AS journal
  WHERE journal.key = wanted.key AND ($2::timestamptz IS NULL OR (time, partition, "offset") < ($2, $3::int, $4::bigint))
  ORDER BY time DESC, partition DESC, "offset" DESC LIMIT $5
) AS found ORDER BY time DESC, partition DESC, "offset" DESC LIMIT $5
"""
_PAGE = """
SELECT id, state FROM profile.customers
WHERE merged_into IS NULL AND ($1::uuid IS NULL OR id > $1) ORDER BY id LIMIT $2
"""
_SEARCH = """
SELECT id, state FROM profile.customers WHERE merged_into IS NULL AND ($1::uuid IS NULL OR id > $1) AND id IN (
  SELECT customer FROM profile.identifiers WHERE value LIKE $3 ESCAPE '\\'
) ORDER BY id LIMIT $2
"""
_SUMMARY = """
SELECT counter, sum(count)::bigint FROM profile.counters WHERE $1::date IS NULL OR day <= $1 GROUP BY counter
"""
_DUPLICATES = """
SELECT source, sum(count)::bigint FROM profile.counters
WHERE counter = 'duplicates' AND ($1::date IS NULL OR day <= $1) GROUP BY source ORDER BY source
"""


#: Of what waits the latest first; beside each, orders with the same id that other customers have.
_WAITING = f"""
WITH waiting AS (
  SELECT customer, key, value, rank FROM profile.sections
  WHERE rank IS NOT NULL AND ($1::bigint IS NULL OR (rank, customer, key) < ($1, $2::uuid, $3::text))
  ORDER BY rank DESC, customer DESC, key DESC LIMIT $4
)
SELECT w.customer, w.key, w.value, w.rank, c.user_id, ARRAY(
  SELECT row(s.customer, s.value, o.user_id) FROM profile.sections AS s JOIN profile.customers AS o ON o.id = s.customer
  WHERE s.key = w.key AND s.kind = '{ORDER}' AND s.rank IS NULL ORDER BY s.customer LIMIT 5
) AS orders
FROM waiting AS w JOIN profile.customers AS c ON c.id = w.customer ORDER BY w.rank DESC, w.customer DESC, w.key DESC
"""


async def customer(tx: Tx, id: UUID) -> dict[str, Any]:
    """One customer. Raises NotFound."""
    return _shown(id, await _state(tx, id))


async def page(tx: Tx, limit: int, cursor: UUID | None, search: str | None) -> dict[str, Any]:
    """A page of customers, by id. `search` keeps those with an identifier that begins with it."""
    if search:
        pattern = "".join(f"\\{letter}" if letter in "\\%_" else letter for letter in search) + "%"
        rows = await tx.fetch(_SEARCH, cursor, limit + 1, pattern)
    else:
        rows = await tx.fetch(_PAGE, cursor, limit + 1)
    items = [_shown(row["id"], state.decode(row["state"])) for row in rows[:limit]]
    return {"items": items, "next": items[-1]["id"] if len(rows) > limit else None}


async def timeline(tx: Tx, id: UUID, limit: int, cursor: str | None) -> dict[str, Any]:
    """The journal of a customer and of all who were merged into them, the newest first. Raises NotFound."""
    keys = [str(id), *(await _state(tx, id)).merged]
    before = _read_cursor(cursor) if cursor else (None, None, None)
    rows = await tx.fetch(_TIMELINE, keys, *before, limit + 1)
    items = [_item(row["value"]) for row in rows[:limit]]
    return {"items": items, "next": _cursor(*rows[limit - 1][:3]) if len(rows) > limit else None}


async def summary(tx: Tx, until: date | None = None) -> dict[str, Any]:
    """Exact totals of everything, or of everything up to the end of the day `until`."""
    totals = {row[0]: row[1] for row in await tx.fetch(_SUMMARY, until)}
    customers, identified = totals.get("customers", 0), totals.get("identified", 0)
    return {
        "customers": customers,
        "identified": identified,
        "anonymous": customers - identified,
        "erased": totals.get("erased", 0),
        **{name: totals.get(name, 0) for name in ("merges", "claims", "duplicates", "events", "skipped")},
        "duplicates_by_source": {row[0]: row[1] for row in await tx.fetch(_DUPLICATES, until)},
        "refused": {
            name.removeprefix("refused:"): total
            for name, total in sorted(totals.items())
            if name.startswith("refused:")
        },
    }


async def waiting_refunds(tx: Tx, limit: int, cursor: str | None) -> dict[str, Any]:
    """Refunds and cancellations whose order their customer does not have, with the customers who have it. Raises
    Invalid."""
    behind = _read_waiting(cursor) if cursor else (None, None, None)
    rows = await tx.fetch(_WAITING, *behind, limit + 1)
    items = [_waiting(*row) for row in rows[:limit]]
    last = rows[limit - 1] if len(rows) > limit else None
    return {
        "items": items,
        "next": None if last is None else _encoded(f"{last['rank']}|{last['customer']}|{last['key']}"),
    }


def _waiting(customer: UUID, key: str, value: bytes, rank: int, user: str | None, orders: list[Any]) -> dict[str, Any]:
    order = state.decode_order(value)
    return {
        "customer": customer,
        "user_id": user,
        "order_id": key,
        "since": moment(rank),
        "refunds": [{"refund_id": id, **_back(back)} for id, back in order.refunds.items()],
        "cancelled": order.cancelled,
        "orders": [_order(*each) for each in orders],
    }


def _back(back: Back) -> dict[str, Any]:
    if isinstance(back, Money):
        return {"amount": str(back.major), "currency": back.currency}
    return {"amount": None if back is None else str(back), "currency": None}


def _order(customer: UUID, value: bytes, user: str | None) -> dict[str, Any]:
    order = state.decode_order(value)
    return {
        "customer": customer,
        "user_id": user,
        "amount": None if order.minor is None else str(major(order.minor, order.currency)),
        "currency": order.currency,
        "time": moment(order.at or 0),
    }


async def _state(tx: Tx, id: UUID) -> Customer:
    value = await tx.fetchval("SELECT state FROM profile.customers WHERE id = $1", id)
    if value is None:
        raise NotFound(f"there is no customer {id}")
    return state.decode(value)


def _shown(id: UUID, customer: Customer) -> dict[str, Any]:
    return {
        "id": str(id),
        "user_id": customer.user,
        "refs": sorted(customer.identifiers, key=lambda ref: (not ref.startswith("user:"), ref)),
        "traits": {
            name: msgspec.json.decode(trait.value) for name, trait in sorted(customer.traits.items()) if not trait.gone
        },
        "orders": customer.completed,
        "revenue": {currency: str(major(minor, currency)) for currency, minor in sorted(customer.revenue.items())},
        "first_seen": None if customer.first is None else moment(customer.first),
        "last_seen": None if customer.last is None else moment(customer.last),
        "segments": {name: moment(since) for name, since in sorted(customer.segments.items())},
        "standing": customer.standing,
        "merged_from": customer.merged,
    }


def _item(value: bytes) -> dict[str, Any]:
    envelope = decode_record(value)
    data = msgspec.json.decode(envelope.data)
    data.pop("customer", None)
    said = envelope.type in TYPES.values()
    return {
        "id": envelope.id,
        "type": envelope.type,
        "name": event_name(data.get("type", ""), data.get("event")) if said else display_name(envelope.type),
        "time": envelope.time,
        "received": envelope.recordedtime,
        "source": envelope.source,
        "cause": envelope.causationid,
        "data": data,
    }


def _cursor(time: datetime, partition: int, offset: int) -> str:
    return _encoded(f"{time.isoformat()}|{partition}|{offset}")


def _encoded(place: str) -> str:
    """A cursor: a place, in characters that need no escaping."""
    return base64.urlsafe_b64encode(place.encode()).decode().rstrip("=")


def _decoded(cursor: str, parts: int) -> list[str]:
    """The parts of a cursor's place. Raises ValueError (binascii.Error is one) if it is no cursor."""
    found = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode().split("|", parts - 1)
    if len(found) != parts:
        raise ValueError("too few parts")
    return found


def _read_cursor(cursor: str) -> tuple[datetime, int, int]:
    try:
        time, partition, offset = _decoded(cursor, 3)
        place = datetime.fromisoformat(time), int(partition), int(offset)
        if place[0].tzinfo is None or not (0 <= place[1] < 2**31 and 0 <= place[2] < 2**63):
            raise ValueError("out of range")
    except ValueError as error:
        raise _no_cursor() from error
    return place


def _read_waiting(cursor: str) -> tuple[int, UUID, str]:
    try:
        rank, customer, key = _decoded(cursor, 3)
        if not 0 <= int(rank) < 2**63:
            raise ValueError("out of range")
        return int(rank), UUID(customer), key
    except ValueError as error:
        raise _no_cursor() from error


def _no_cursor() -> Invalid:
    return Invalid("the cursor is none that was given out: take `next` of the page before as it is")
