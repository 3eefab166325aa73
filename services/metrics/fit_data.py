"""The data of a fit, read from the database: RFM cells for BG/NBD, repeat spend for Gamma-Gamma, and buyers to score.

All of it is as of a day: it leaves out purchases of later days. A refund counts on the day of its order, whenever it came.
"""

import hashlib
from collections import Counter
from datetime import date
from typing import NamedTuple
from uuid import UUID

import msgspec

from libs.common.db.pool import Tx
from services.metrics.domain.rfm import RfmCell

# Seconds. Reading all customers of a large installation takes longer than a fold's statements may.
_TIMEOUT = 120

_LAST_DAY = 'SELECT max("first" + span) FROM metrics.rfm_cells'
_CELLS = """
SELECT x, span, "first", sum(customers)::bigint FROM metrics.rfm_cells
GROUP BY x, span, "first" HAVING sum(customers) <> 0
"""
_CELLS_RECOUNTED = """
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


class FitData(NamedTuple):
    """The data that both models are fitted on."""

    cells: Counter[RfmCell]
    spend: Counter[RepeatSpend]

    def digest(self) -> str:
        """A hash: the same for the same purchases, in whatever order they are read."""
        rows = [
            sorted((*cell, n) for cell, n in self.cells.items()),
            sorted((*row, n) for row, n in self.spend.items()),
        ]
        return hashlib.sha256(msgspec.json.encode(rows)).hexdigest()


class Buyer(NamedTuple):
    """A customer to score: `x` purchase days after the `first`; `total` is their spend on these, in minor units."""

    customer: UUID
    x: int
    first: date
    last: date
    total: int


async def load(tx: Tx, as_of: date, currency: str) -> FitData:
    """The data as of a day, read in one snapshot: `tx` is a connection outside a transaction."""
    async with tx.transaction(isolation="repeatable_read", readonly=True):
        await tx.execute(f"SET LOCAL transaction_timeout = '{_TIMEOUT}s'")
        known = await cells(tx, as_of)
        rows = await tx.fetch(_SPEND, as_of, currency, timeout=_TIMEOUT)
        return FitData(known, Counter({RepeatSpend(row[0], row[1]): row[2] for row in rows}))


async def cells(tx: Tx, as_of: date, *, recount: bool = False) -> Counter[RfmCell]:
    """The RFM cells as of a day. They are recounted from every customer's purchase days if the stored cells include later
    purchases, or to `recount`."""
    last = await tx.fetchval(_LAST_DAY)
    if recount or (last is not None and last > as_of):
        rows = await tx.fetch(_CELLS_RECOUNTED, as_of, timeout=_TIMEOUT)
    else:
        rows = await tx.fetch(_CELLS, timeout=_TIMEOUT)
    return Counter({RfmCell(row[0], row[1], row[2]): row[3] for row in rows})


async def buyers(tx: Tx, as_of: date, currency: str, after: UUID | None, limit: int) -> list[Buyer]:
    """The next customers by id, after customer `after`, who had bought by `as_of`."""
    return [Buyer(*row) for row in await tx.fetch(_CUSTOMERS, as_of, currency, after, limit)]


async def holdout(tx: Tx, as_of: date, until: date) -> int:
    """The number of purchase days after `as_of` and up to `until`, of the customers who had bought by `as_of`."""
    found: int = await tx.fetchval(_HOLDOUT, as_of, until, timeout=_TIMEOUT)
    return found
