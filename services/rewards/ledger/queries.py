"""The ledger's reads for routes: credits, statements, and sums over all customers, in the caller's transaction or
connection."""

from collections.abc import Mapping
from datetime import date
from typing import Any
from uuid import UUID

import msgspec

from libs.common.db.pool import Tx
from libs.common.fold.personal import KEPT
from services.rewards.ledger.booking import ADJUSTED, AVAILABLE, EXPIRED, ISSUANCE, REVERSED
from services.rewards.ledger.state import CREDIT, Credit

Record = Mapping[str, Any]
_credit = msgspec.json.Decoder(Credit)


async def open_credits(tx: Tx, customer: UUID) -> list[tuple[str, Credit]]:
    """The open credits with their keys, in the order in which they are spent."""
    rows = await tx.fetch(
        "SELECT key, value FROM rewards.sections WHERE customer = $1 AND kind = $2 AND rank IS NOT NULL ORDER BY rank, key",
        customer,
        CREDIT,
    )
    return [(row[0], _credit.decode(row[1])) for row in rows]


async def statement(tx: Tx, customer: UUID, limit: int, cursor: UUID | None) -> list[Record]:
    """A customer's entries, the latest first, each with the balance after it, computed from the entries alone.

    `cursor` is the last transaction of the page before.
    """
    rows = await tx.fetch(
        "WITH booked AS (SELECT *, sum(points) OVER (ORDER BY effective_at, sequence, transaction)::bigint AS balance"
        " FROM rewards.entries WHERE customer = $1 AND account = $4)"
        " SELECT * FROM booked WHERE $3::uuid IS NULL OR (effective_at, sequence, transaction) <"
        " (SELECT effective_at, sequence, transaction FROM booked WHERE transaction = $3)"
        " ORDER BY effective_at DESC, sequence DESC, transaction DESC LIMIT $2",
        customer,
        limit,
        cursor,
        AVAILABLE,
    )
    return [dict(row) for row in rows]


async def ledger(tx: Tx, until: date | None = None) -> dict[str, int]:
    """The sum of each account over all customers, of all that happened up to and including the day `until`."""
    sums = dict.fromkeys((AVAILABLE, ISSUANCE, REVERSED, ADJUSTED, EXPIRED), 0)
    rows = await tx.fetch(
        "SELECT account, sum(points)::bigint FROM rewards.totals WHERE $1::date IS NULL OR day <= $1 GROUP BY account",
        until,
    )
    return sums | {row[0]: row[1] for row in rows}


async def booked(tx: Tx) -> tuple[dict[str, int], int]:
    """The sum of each account from the entries themselves and what is kept of erased customers', and how many transactions do
    not sum to zero. Reads all."""
    sums = dict.fromkeys((AVAILABLE, ISSUANCE, REVERSED, ADJUSTED, EXPIRED), 0)
    rows = await tx.fetch(
        "SELECT account, sum(points)::bigint FROM (SELECT account, points FROM rewards.entries UNION ALL"
        " SELECT account, points FROM rewards.totals WHERE partition = $1) AS booked GROUP BY account",
        KEPT,
    )
    unbalanced: int = await tx.fetchval(
        "SELECT count(*) FROM (SELECT 1 FROM rewards.entries GROUP BY customer, transaction HAVING sum(points) <> 0) t"
    )
    return sums | {row[0]: row[1] for row in rows}, unbalanced
