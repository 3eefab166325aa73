"""Compares a shadow with the live state, table by table, in the database. Rows whose sums are zero count as absent."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import msgspec

from libs.common.db.pool import Tx
from libs.common.replay.replayable import Compared, Replayable

#: The number of customers whose differences are listed.
SHOWN = 5
_LONGEST = 120


@dataclass
class TableCompared:
    """A compared table: the number of live rows, and of rows that only one of the two has."""

    table: str
    rows: int
    differing: int


@dataclass
class Difference:
    """One difference in one customer: a member of the state or a table (`what`), live and replayed."""

    customer: str
    what: str
    live: Any
    replayed: Any


@dataclass
class Comparison:
    """The result of comparing a replay with the live state. `first` lists those of the first SHOWN customers."""

    service: str
    records: int
    facts: int
    differing_facts: int
    customers: int = 0
    differing: int = 0
    tables: list[TableCompared] = field(default_factory=list)
    first: list[Difference] = field(default_factory=list)

    @property
    def equal(self) -> bool:
        return not self.differing_facts and not any(table.differing for table in self.tables)


async def compare(
    tx: Tx, replayable: Replayable[Any, Any], shadow: str, records: int, facts: int, differing_facts: int
) -> Comparison:
    """Compare all tables. `tx` must see the live state as of the position that the replay has reached."""
    live, result = replayable.service, Comparison(replayable.service, records, facts, differing_facts)
    result.customers = await tx.fetchval(
        f'SELECT count(*) FROM "{live}".customers FULL JOIN "{shadow}".customers s USING (id)'
    )
    await tx.execute("CREATE TEMPORARY TABLE differing (customer uuid, what text) ON COMMIT DROP")
    for each in replayable.compared:
        rows = await tx.fetchval(f"SELECT count(*) FROM ({_rows(each, live)}) AS r")
        differing = await tx.fetchval(f"SELECT count(*) FROM ({_differing_rows(each, live, shadow)}) AS r")
        result.tables.append(TableCompared(each.table, rows, differing))
        if differing and each.customer:
            await tx.execute(
                f"INSERT INTO differing SELECT DISTINCT {each.customer}, '{each.table}'"
                f" FROM ({_differing_rows(each, live, shadow)}) AS r"
            )
    result.differing = await tx.fetchval("SELECT count(DISTINCT customer) FROM differing")
    for row in await tx.fetch("SELECT DISTINCT customer FROM differing ORDER BY customer LIMIT $1", SHOWN):
        result.first += await _differences(tx, replayable, shadow, row["customer"])
    return result


def _rows(each: Compared, schema: str) -> str:
    sums = [f"sum({name}) AS {name}" for name in each.sums]
    not_zero = " OR ".join(f"sum({name}) <> 0" for name in each.sums)
    grouped = f" GROUP BY {', '.join(each.columns)} HAVING {not_zero}" if sums else ""
    return f'SELECT {", ".join([*each.columns, *sums])} FROM "{schema}"."{each.table}" WHERE {each.where}{grouped}'


def _differing_rows(each: Compared, live: str, shadow: str) -> str:
    """SQL for the rows that only one of the two has."""
    ours, theirs = _rows(each, live), _rows(each, shadow)
    return f"(({ours}) EXCEPT ALL ({theirs})) UNION ALL (({theirs}) EXCEPT ALL ({ours}))"


async def _differences(tx: Tx, replayable: Replayable[Any, Any], shadow: str, customer: UUID) -> list[Difference]:
    """The differences of one customer: members of the state, and rows of other tables."""
    result: list[Difference] = []
    for each in replayable.compared:
        if each.customer is None:
            continue
        of = each._replace(where=f"({each.where}) AND {each.customer} = '{customer}'")
        live = [dict(row) for row in await tx.fetch(_rows(of, replayable.service))]
        replayed = [dict(row) for row in await tx.fetch(_rows(of, shadow))]
        if each.table == "customers":
            result += _members(str(customer), live[0] if live else {}, replayed[0] if replayed else {})
            continue
        only_live = [list(row.values()) for row in live if row not in replayed]
        only_replayed = [list(row.values()) for row in replayed if row not in live]
        if only_live or only_replayed:
            result.append(Difference(str(customer), each.table, _brief(only_live), _brief(only_replayed)))
    return result


def _members(customer: str, live: dict[str, Any], replayed: dict[str, Any]) -> Iterable[Difference]:
    """The differences between two rows of `customers`."""
    for name in ("facts", "merged_into"):
        if (ours := live.get(name)) != (theirs := replayed.get(name)):
            yield Difference(customer, name, _brief(ours), _brief(theirs))
    ours, theirs = (msgspec.json.decode(row.get("state") or b"{}") for row in (live, replayed))
    yield from _differing(customer, "state", ours, theirs)
    if ours == theirs and live.get("state") != replayed.get("state"):
        yield Difference(customer, "state", "the same members,", "in another order")


def _differing(customer: str, path: str, live: dict[str, Any], replayed: dict[str, Any]) -> Iterable[Difference]:
    """The members that differ between two objects, recursively."""
    for name in sorted(live.keys() | replayed.keys()):
        ours, theirs = live.get(name), replayed.get(name)
        if isinstance(ours, dict) and isinstance(theirs, dict):
            yield from _differing(customer, f"{path}.{name}", ours, theirs)
        elif ours != theirs:
            yield Difference(customer, f"{path}.{name}", _brief(ours), _brief(theirs))


def _brief(value: Any) -> str:
    text = str(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
