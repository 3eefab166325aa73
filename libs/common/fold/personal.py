"""What a service holds of a customer, declared once: it is what an export shows and what an erasure deletes."""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias
from uuid import UUID

import msgspec

from libs.common.contracts.profile import CustomerErased
from libs.common.db.pool import Tx
from libs.common.fold.parsed_record import ParsedRecord, erased_ids

#: The partition under which sums keep the share of erased customers. Reads add all partitions up; a replay cannot make this
#: share again, so it takes it over.
KEPT = -1
#: Tables of the fold, each with a column `customer`.
_FOLD = ("identifiers", "commands")
#: Adds the share of some customers to the sums under KEPT, and takes it from the partition's.
Keep: TypeAlias = Callable[[Tx, Sequence[UUID]], Awaitable[None]]

_LETTERS = 'FROM "{service}".dead_letters WHERE key = ANY($1::text[]) OR replayed_key = ANY($1::text[])'


class Personal(NamedTuple):
    """`tables` have a column `customer` each; all that a service has, beside the fold's own. `keep` runs before their rows are
    deleted."""

    tables: tuple[str, ...] = ()
    keep: Keep | None = None


async def erase(tx: Tx, service: str, personal: Personal, record: ParsedRecord) -> None:
    """Delete the rows of the customers whom a record erases, and note how many, for the certificate. Their states are empty
    already. Does not commit."""
    body = record.body
    if not isinstance(body, CustomerErased):
        raise TypeError(f"{record.envelope.type} is no erasure")
    customers = erased_ids(body, record.customer)
    erased = await forget(tx, service, personal, customers, (*personal.tables, *_FOLD))
    keys = [str(id) for id in customers]
    erased["dead_letters"] = await _count(tx, f"DELETE {_LETTERS.format(service=service)}", keys)
    await tx.execute(
        f'INSERT INTO "{service}".erasures (id, customers, erased, asked_at) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING',
        UUID(body.erasure),
        customers,
        msgspec.json.encode(erased),
        record.envelope.time,
    )


async def forget(
    tx: Tx, service: str, personal: Personal, customers: Sequence[UUID], tables: Iterable[str]
) -> dict[str, int]:
    """Delete the rows that these tables have of some customers, whose share of sums is kept. Returns how many of each. Does not
    commit."""
    if personal.keep is not None:
        await personal.keep(tx, customers)
    return {
        table: await _count(tx, f'DELETE FROM "{service}"."{table}" WHERE customer = ANY($1::uuid[])', customers)
        for table in tables
    }


async def _count(tx: Tx, query: str, *args: Any) -> int:
    return int(await tx.fetchval(f"WITH gone AS ({query} RETURNING 1) SELECT count(*) FROM gone", *args))


async def held(
    tx: Tx, service: str, personal: Personal, customers: Sequence[UUID]
) -> dict[str, list[Mapping[str, Any]]]:
    """All rows that a service has of these customers, by table, for an export."""
    found: dict[str, list[Mapping[str, Any]]] = {}
    found["customers"] = await _rows(tx, f'SELECT * FROM "{service}".customers WHERE id = ANY($1::uuid[])', customers)
    for table in (*personal.tables, *_FOLD):
        found[table] = await _rows(
            tx, f'SELECT * FROM "{service}"."{table}" WHERE customer = ANY($1::uuid[])', customers
        )
    keys = [str(id) for id in customers]
    found["dead_letters"] = await _rows(tx, f"SELECT * {_LETTERS.format(service=service)}", keys)
    return found


async def _rows(tx: Tx, query: str, argument: Sequence[object]) -> list[Mapping[str, Any]]:
    return [{name: legible(value) for name, value in row.items()} for row in await tx.fetch(query, list(argument))]


def legible(value: Any) -> Any:
    """A column's value as JSON has it: bytes are JSON text mostly, else base64."""
    if not isinstance(value, bytes):
        return value
    try:
        return msgspec.json.decode(value) if value else None
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return value
