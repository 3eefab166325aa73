"""Comparing a shadow with the live state, table by table, in the database. Rows that say nothing (sums of zero) count as
absent."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import msgspec

from libs.common.db.pool import Tx
from libs.common.replay.replayable import Compared, Replayable

#: Customers of whom it is shown in what they differ.
SHOWN = 5
_LONGEST = 120


@dataclass
class TableCompared:
    """A table: rows live, and how many rows are in one of the two only."""

    table: str
    rows: int
    differing: int


@dataclass
class Different:
    """One customer and one thing of theirs: as it is live, and as it was replayed."""

    customer: str
    what: str
    live: Any
    replayed: Any


@dataclass
class Comparison:
    """What came of a replay."""

    service: str
    records: int
    facts: int
    differing_facts: int
    customers: int = 0
    differing: int = 0
    tables: list[TableCompared] = field(default_factory=list)
    first: list[Different] = field(default_factory=list)

    @property
    def equal(self) -> bool:
        return not self.differing_facts and not any(table.differing for table in self.tables)


async def compare(
    tx: Tx, replayable: Replayable[Any, Any], shadow: str, records: int, facts: int, differing_facts: int
) -> Comparison:
    """Compare all tables. `tx` must see the live state as it was at the position that the replay has reached."""
    live, found = replayable.service, Comparison(replayable.service, records, facts, differing_facts)
    found.customers = await tx.fetchval(
        f'SELECT count(*) FROM "{live}".customers FULL JOIN "{shadow}".customers s USING (id)'
    )
    await tx.execute("CREATE TEMPORARY TABLE differing (customer uuid, what text) ON COMMIT DROP")
    for each in replayable.compared:
        rows = await tx.fetchval(f"SELECT count(*) FROM ({_rows(each, live)}) AS r")
        differing = await tx.fetchval(f"SELECT count(*) FROM ({_apart(each, live, shadow)}) AS r")
        found.tables.append(TableCompared(each.table, rows, differing))
        if differing and each.customer:
            await tx.execute(
                f"INSERT INTO differing SELECT DISTINCT {each.customer}, '{each.table}'"
                f" FROM ({_apart(each, live, shadow)}) AS r"
            )
    found.differing = await tx.fetchval("SELECT count(DISTINCT customer) FROM differing")
    for row in await tx.fetch("SELECT DISTINCT customer FROM differing ORDER BY customer LIMIT $1", SHOWN):
        found.first += await _differences(tx, replayable, shadow, row["customer"])
    return found


def _rows(each: Compared, schema: str) -> str:
    sums = [f"sum({name}) AS {name}" for name in each.sums]
    nothing = " OR ".join(f"sum({name}) <> 0" for name in each.sums)
    grouped = f" GROUP BY {', '.join(each.columns)} HAVING {nothing}" if sums else ""
    return f'SELECT {", ".join([*each.columns, *sums])} FROM "{schema}"."{each.table}" WHERE {each.where}{grouped}'


def _apart(each: Compared, live: str, shadow: str) -> str:
    """The rows that are in one of the two only."""
    one, other = _rows(each, live), _rows(each, shadow)
    return f"(({one}) EXCEPT ALL ({other})) UNION ALL (({other}) EXCEPT ALL ({one}))"


async def _differences(tx: Tx, replayable: Replayable[Any, Any], shadow: str, customer: UUID) -> list[Different]:
    """In what a customer differs: the members of their state, and the rows of other tables."""
    found: list[Different] = []
    for each in replayable.compared:
        if each.customer is None:
            continue
        of = each._replace(where=f"({each.where}) AND {each.customer} = '{customer}'")
        live = [dict(row) for row in await tx.fetch(_rows(of, replayable.service))]
        made = [dict(row) for row in await tx.fetch(_rows(of, shadow))]
        if each.table == "customers":
            found += _members(str(customer), live[0] if live else {}, made[0] if made else {})
            continue
        lost = [list(row.values()) for row in live if row not in made]
        new = [list(row.values()) for row in made if row not in live]
        if lost or new:
            found.append(Different(str(customer), each.table, _brief(lost), _brief(new)))
    return found


def _members(customer: str, live: dict[str, Any], made: dict[str, Any]) -> Iterable[Different]:
    for name in ("facts", "merged_into"):
        if (was := live.get(name)) != (now := made.get(name)):
            yield Different(customer, name, _brief(was), _brief(now))
    was, now = (msgspec.json.decode(row.get("state") or b"{}") for row in (live, made))
    yield from _differing(customer, "state", was, now)
    if was == now and live.get("state") != made.get("state"):
        yield Different(customer, "state", "the same members,", "in another order")


def _differing(customer: str, path: str, was: dict[str, Any], now: dict[str, Any]) -> Iterable[Different]:
    """The members that differ; where both are objects again, their members."""
    for name in sorted(was.keys() | now.keys()):
        one, other = was.get(name), now.get(name)
        if isinstance(one, dict) and isinstance(other, dict):
            yield from _differing(customer, f"{path}.{name}", one, other)
        elif one != other:
            yield Different(customer, f"{path}.{name}", _brief(one), _brief(other))


def _brief(value: Any) -> str:
    text = str(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
