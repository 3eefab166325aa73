"""Profile's reads for routes, without locks."""

from datetime import UTC, date, datetime
from typing import Any
from uuid import UUID

import msgspec

from libs.common.contracts.money import Money, major
from libs.common.contracts.orders import Back
from libs.common.db.pool import Tx
from libs.common.errors import NotFound
from services.profile.cursors import decoded, encoded, no_cursor
from services.profile.domain import state
from services.profile.domain.consent import statuses
from services.profile.domain.journey import AsOf, Journey, relationship
from services.profile.domain.state import ORDER, Customer, micros, moment
from services.profile.domain.touch import Touch
from services.profile.segments.rules import Rules

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


async def customer(tx: Tx, id: UUID, rules: Rules) -> dict[str, Any]:
    """One customer in full. Raises NotFound."""
    return in_full(id, await state_of(tx, id), rules)


def in_full(id: UUID, found: Customer, rules: Rules) -> dict[str, Any]:
    """A customer as the route about one answers them."""
    as_of = now_under(rules)
    answer = shown(id, found, as_of)
    traits = answer["traits"]
    return {
        **answer,
        "trait_groups": {
            group: {name: traits[name] for name in names if name in traits}
            for group, names in rules.trait_groups.items()
        },
        "relationship": _relationship(found, rules.journey),
        "deselection": None
        if (flag := found.deselected) is None
        else {"reason": flag.reason, "since": moment(flag.at), "by": flag.by},
        "trait_origins": {
            name: {"source": f"/apps/{trait.source}", "time": moment(trait.at)}
            for name, trait in sorted(found.traits.items())
            if not trait.gone
        },
        "acquisition": {
            "channel": found.channel,
            "first_touch": _touch(found.first_touch),
            "last_touch": _touch(found.last_touch),
        },
    }


def now_under(rules: Rules) -> AsOf:
    """This moment, under the rules."""
    return AsOf(micros(datetime.now(UTC)), rules.journey)


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


async def customer_count(tx: Tx) -> int:
    """How many customers there are, as the counters say: a count of their rows takes seconds where there are a million."""
    count: int = await tx.fetchval(
        "SELECT coalesce(sum(count), 0)::bigint FROM profile.counters WHERE counter = 'customers'"
    )
    return count


async def waiting_refunds(tx: Tx, limit: int, cursor: str | None) -> dict[str, Any]:
    """Refunds and cancellations whose order their customer does not have, with the customers who have it. Raises
    Invalid."""
    behind = _read_waiting(cursor) if cursor else (None, None, None)
    rows = await tx.fetch(_WAITING, *behind, limit + 1)
    items = [_waiting(*row) for row in rows[:limit]]
    last = rows[limit - 1] if len(rows) > limit else None
    return {
        "items": items,
        "next": None if last is None else encoded(f"{last['rank']}|{last['customer']}|{last['key']}"),
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


async def state_of(tx: Tx, id: UUID) -> Customer:
    """A customer's state, without their sections. Raises NotFound."""
    value = await tx.fetchval("SELECT state FROM profile.customers WHERE id = $1", id)
    if value is None:
        raise NotFound(f"there is no customer {id}")
    return state.decode(value)


def shown(id: UUID, customer: Customer, as_of: AsOf) -> dict[str, Any]:
    """A customer as the routes answer them."""
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
        "computed_traits": dict(sorted(customer.computed.items())),
        "segments": {name: moment(since) for name, since in sorted(customer.segments.items())},
        "standing": customer.standing,
        "channel": customer.channel,
        "stage": as_of.stage(customer),
        "consent": statuses(customer.consent),
        "merged_from": customer.merged,
    }


def _relationship(customer: Customer, journey: Journey) -> dict[str, Any]:
    said = customer.relationship
    return {
        **relationship(customer, journey)._asdict(),
        "set_by": None if said is None else said.by,
        "set_at": None if said is None else moment(said.at),
    }


def _touch(touch: Touch | None) -> dict[str, Any] | None:
    if touch is None:
        return None
    names = ("channel", "source", "medium", "campaign", "referrer")
    return {"time": moment(touch.at), **{name: getattr(touch, name) for name in names}}


def _read_waiting(cursor: str) -> tuple[int, UUID, str]:
    try:
        rank, customer, key = decoded(cursor, 3)
        if not 0 <= int(rank) < 2**63:
            raise ValueError("out of range")
        return int(rank), UUID(customer), key
    except ValueError as error:
        raise no_cursor() from error
