"""What a fit is made from: the histogram for BG/NBD, repeat spend for Gamma-Gamma, and each customer as they are scored.

Everything is as of a day: purchases of later days are unknown; refunds mend the day of their order, whenever they came.
"""

import hashlib
from collections import Counter
from datetime import date
from typing import NamedTuple
from uuid import UUID

import msgspec

from libs.common.db.pool import Tx
from services.metrics.domain.histogram import Cell

# Reading all customers of a large installation takes longer than what the fold may take.
_PATIENCE = 120

_LAST = 'SELECT max("first" + span) FROM metrics.histogram'
_CELLS_KEPT = """
SELECT x, span, "first", sum(n)::bigint FROM metrics.histogram GROUP BY x, span, "first" HAVING sum(n) <> 0
"""
_CELLS_ANEW = """
SELECT days - 1, last - "first", "first", count(*) FROM (
  SELECT count(DISTINCT day) AS days, min(day) AS "first", max(day) AS last
  FROM metrics.purchase_days WHERE day <= $1 GROUP BY customer
) AS seen GROUP BY 1, 2, 3
"""
_SPEND = """
SELECT days, total, count(*) FROM (
  SELECT count(*) AS days, sum(net_minor)::bigint AS total FROM (
    SELECT customer, day, currency, net_minor, min(day) OVER (PARTITION BY customer) AS "first"
    FROM metrics.purchase_days WHERE day <= $1
  ) AS bought WHERE day > "first" AND currency = $2 GROUP BY customer
) AS repeated GROUP BY 1, 2
"""
_CUSTOMERS = """
WITH seen AS (
  SELECT customer, count(DISTINCT day) AS days, min(day) AS "first", max(day) AS last
  FROM metrics.purchase_days WHERE day <= $1 AND ($3::uuid IS NULL OR customer > $3)
  GROUP BY customer ORDER BY customer LIMIT $4
)
SELECT customer, days - 1 AS x, "first", last, coalesce((
  SELECT sum(net_minor) FROM metrics.purchase_days AS d
  WHERE d.customer = seen.customer AND d.day <= $1 AND d.day > seen."first" AND d.currency = $2
), 0)::bigint AS total FROM seen ORDER BY customer
"""
_HOLDOUT = """
SELECT count(DISTINCT (customer, day)) FROM metrics.purchase_days AS d
WHERE day > $1 AND day <= $2
  AND EXISTS (SELECT 1 FROM metrics.purchase_days AS e WHERE e.customer = d.customer AND e.day <= $1)
"""


class RepeatSpend(NamedTuple):
    """Customers who spent `total` minor units, after refunds, on `days` repeat days with an order in the currency."""

    days: int
    total: int


class Inputs(NamedTuple):
    """What both models are fitted on."""

    cells: Counter[Cell]
    spend: Counter[RepeatSpend]

    def digest(self) -> str:
        """The same for the same purchases, whatever the order they are read in."""
        rows = [
            sorted((*cell, n) for cell, n in self.cells.items()),
            sorted((*row, n) for row, n in self.spend.items()),
        ]
        return hashlib.sha256(msgspec.json.encode(rows)).hexdigest()


class Buyer(NamedTuple):
    """A customer to be scored: `x` purchase days after the `first`, spend on them in minor units of the currency."""

    customer: UUID
    x: int
    first: date
    last: date
    total: int


async def inputs(tx: Tx, as_of: date, currency: str) -> Inputs:
    """What the models see on `as_of`. Takes a consistent look: `tx` is a connection without a transaction."""
    async with tx.transaction(isolation="repeatable_read", readonly=True):
        await tx.execute(f"SET LOCAL transaction_timeout = '{_PATIENCE}s'")
        known = await cells(tx, as_of)
        rows = await tx.fetch(_SPEND, as_of, currency, timeout=_PATIENCE)
        return Inputs(known, Counter({RepeatSpend(row[0], row[1]): row[2] for row in rows}))


async def cells(tx: Tx, as_of: date, *, anew: bool = False) -> Counter[Cell]:
    """The histogram as of a day: the one that is kept, unless it knows later purchases; then (or `anew`) from the
    purchases of each customer."""
    last = await tx.fetchval(_LAST)
    if anew or (last is not None and last > as_of):
        rows = await tx.fetch(_CELLS_ANEW, as_of, timeout=_PATIENCE)
    else:
        rows = await tx.fetch(_CELLS_KEPT, timeout=_PATIENCE)
    return Counter({Cell(row[0], row[1], row[2]): row[3] for row in rows})


async def buyers(tx: Tx, as_of: date, currency: str, after: UUID | None, limit: int) -> list[Buyer]:
    """The next customers, by id, who had bought by `as_of`."""
    return [Buyer(*row) for row in await tx.fetch(_CUSTOMERS, as_of, currency, after, limit)]


async def holdout(tx: Tx, as_of: date, until: date) -> int:
    """Purchase days after `as_of` up to `until` of the customers who had bought by `as_of`."""
    found: int = await tx.fetchval(_HOLDOUT, as_of, until, timeout=_PATIENCE)
    return found
