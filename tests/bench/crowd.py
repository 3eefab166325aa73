"""Row `customers`: the same number of events over a tenth of the customers, and over all of them.

The customers are copies of one whom the services have made from a few events: every row that names this one, in every
table of the four that keep customers, is copied under other ids, inside PostgreSQL. Then part of the pages lies on disk
only; so it is measured once like that, and from then on with all that has been read once.
"""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, NamedTuple

import asyncpg

from tests.bench.bench import Bench, end_to_end, say
from tests.bench.installation import READERS
from tests.bench.table import Figure
from tests.bench.workload import CUSTOMERS, Workload

FEWER = 10
#: A customer's name: the number has seven digits, so that all names are of one length. 0 is the one who is copied.
NAME = "crowd-%07d"
#: Events of the one who is copied: two orders, large enough for a message each, and views.
FIRST, EVENTS = 45, 6

_COLUMNS = """
SELECT c.table_name, array_agg(c.column_name::text ORDER BY c.ordinal_position),
  array_agg(c.data_type::text ORDER BY c.ordinal_position)
FROM information_schema.columns c JOIN pg_class t ON t.relname = c.table_name AND t.relkind = 'r'
  AND t.relnamespace = $1::text::regnamespace
WHERE c.table_schema = $1::text GROUP BY c.table_name
HAVING bool_or(c.column_name = 'customer' AND c.data_type = 'uuid') OR c.table_name = 'customers' ORDER BY 1
"""


async def customers(bench: Bench) -> AsyncIterator[Figure]:
    """Events/s over 1,000,000 customers, against 100,000."""
    many = bench.size(1_000_000, 10 * CUSTOMERS)
    tenth, whole = await _rates(bench, many // FEWER), await _rates(bench, many)
    for bare, here in zip(tenth.warm, whole.warm, strict=True):
        yield Figure(
            "customers",
            f"{here:,.0f}/s ({whole.cold:,.0f}/s in the first run)",
            f"a tenth {bare:,.0f}/s ({tenth.cold:,.0f}/s in the first run)",
            f"{here / bare:.2f} ({whole.cold / tenth.cold:.2f})",
            here / bare,
        )


class Rates(NamedTuple):
    """Events/s in the first run after filling, and with all that has been read once."""

    cold: float
    warm: list[float]


async def _rates(bench: Bench, count: int) -> Rates:
    """Over so many customers, as often as is to be measured: all in one installation, as filling it takes long."""
    drawn = random.Random(1)  # noqa: S311 - no secret
    workload = Workload(lambda _: (NAME % drawn.randint(1, count)).encode())
    events = bench.size(50_000, 1_000)
    async with bench.whole() as installation:
        await end_to_end(installation, Workload(lambda _: (NAME % 0).encode(), FIRST), EVENTS)
        await fill(installation.dsn, count)
        await end_to_end(installation, workload, events // 5)
        cold = await end_to_end(installation, workload, events)
        await asyncio.to_thread(read_all, installation.home)
        return Rates(cold, [await end_to_end(installation, workload, events) for _ in bench.attempts()])


def read_all(folder: Path) -> None:
    """Read every file once, so that the system keeps as much of them in its cache as the machine's memory holds."""
    for path in folder.rglob("*"):
        if path.is_file():
            with contextlib.suppress(FileNotFoundError), path.open("rb", buffering=0) as file:  # WAL goes meanwhile
                while file.read(1 << 22):
                    pass


async def fill(dsn: str, count: int) -> None:
    """Copy customer 0 `count` times, in all services. Raises RuntimeError unless each has them then."""
    connection = await asyncpg.connect(dsn, server_settings={"jit": "off"})
    try:
        for service in READERS:
            for table, columns, types in await connection.fetch(_COLUMNS, service):
                await _copy(connection, f'"{service}"."{table}"', dict(zip(columns, types, strict=True)), count)
            known = await connection.fetchval(
                f"SELECT count(*) FROM \"{service}\".identifiers WHERE kind = 'user' AND value LIKE 'crowd-%'"
            )
            if known != count + 1:
                raise RuntimeError(f"{service} knows {known} of {count + 1} customers")
    finally:
        await connection.close()


async def _copy(connection: "asyncpg.Connection[Any]", table: str, columns: dict[str, str], count: int) -> None:
    owner = "customer" if "customer" in columns else "id"
    values = ", ".join(_value(name, type, name == owner) for name, type in columns.items())
    names = ", ".join(f'"{name}"' for name in columns)
    status = await connection.execute(
        f"INSERT INTO {table} ({names}) SELECT {values} FROM {table} AS one, generate_series(1, $1::int) AS number"
        f" WHERE one.{owner} = (SELECT customer FROM profile.identifiers WHERE kind = 'user' AND value = $2)",
        count,
        NAME % 0,
        timeout=3600,
    )
    await connection.execute(f"VACUUM (ANALYZE) {table}", timeout=3600)
    say(f"  {table}: {status.rpartition(' ')[2]} rows")


def _value(name: str, type: str, is_owner: bool) -> str:
    """A column's value for copy `number`: another id for the customer's, another name where theirs stands."""
    column = f'one."{name}"'
    renamed = "replace({}, 'crowd-0000000', 'crowd-' || lpad(number::text, 7, '0'))"
    if is_owner:
        return "md5('crowd' || number)::uuid"
    if type == "text":
        return renamed.format(column)
    if type == "bytea":
        return f"convert_to({renamed.format(f'''convert_from({column}, 'UTF8')''')}, 'UTF8')"
    return column
