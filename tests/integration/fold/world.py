"""What the tests of the fold say to the toy, and what they see of it."""

import uuid
from datetime import UTC, datetime

import msgspec

from libs.common.contracts.profile import JOURNAL
from libs.common.contracts.records import Binding, Snapshot
from libs.common.contracts.rewards import REWARDS
from libs.common.db.pool import Database
from libs.common.log.append import Outgoing, append
from libs.common.log.partition import partition_of
from tests.integration.fold.toy import Counted
from tests.support import journal_record

PARTITIONS = 8
CUSTOMERS = [str(uuid.UUID(int=number, version=4)) for number in range(1, 13)]
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def customer_in(partition: int, number: int = 0) -> str:
    """The `number`th customer whose records lie in a partition."""
    ids = (str(uuid.UUID(int=1000 + n, version=4)) for n in range(400))
    return [id for id in ids if partition_of(id, PARTITIONS) == partition][number]


def did(customer: str, id: str, **data: str | bool) -> Outgoing:
    return journal_record(customer, {"event": "Did", **data}, id=id)


def bound(customer: str, id: str, user: str, **data: str) -> Outgoing:
    """As `did`, and from now on `user:<user>` leads to the customer."""
    snapshot = Snapshot(id=customer, bound=[Binding("user", user, 1)])
    return journal_record(customer, {"event": "Did", **data}, id=id, snapshot=snapshot)


def left(customer: str, into: str) -> Outgoing:
    return journal_record(customer, {"into": into}, id=f"left-{customer}", type="customer.left.v1", source="/profile")


def merged(survivor: str, other: str) -> Outgoing:
    return journal_record(
        survivor, {"other": other}, id=f"merged-{other}", type="customer.merged.v1", source="/profile"
    )


async def journal(database: Database, *records: Outgoing) -> None:
    async with database.transaction() as tx:
        await append(tx, JOURNAL, records, PARTITIONS)


async def states(database: Database) -> dict[str, Counted]:
    async with database.connection() as tx:
        rows = await tx.fetch("SELECT id, state FROM toy.customers WHERE state <> ''")
    return {str(row["id"]): msgspec.json.decode(row["state"], type=Counted) for row in rows}


async def seen(database: Database, customer: str, ids: list[str]) -> bool:
    """Whether exactly these records were applied to a customer, in this order."""
    found = (await states(database)).get(customer)
    return found is not None and found.seen == ids


async def facts(database: Database) -> list[str]:
    """The ids of the facts decided."""
    async with database.connection() as tx:
        rows = await tx.fetch(f'SELECT value FROM log."{REWARDS}" ORDER BY partition, "offset"')
    return [msgspec.json.decode(row["value"])["id"] for row in rows]


async def deaths(database: Database) -> int:
    """How many deaths are counted, on all partitions."""
    async with database.connection() as tx:
        return int(await tx.fetchval("SELECT sum(crashes) FROM toy.positions"))


async def dead(database: Database) -> list[tuple[str, str]]:
    """The record and error of each dead letter."""
    async with database.connection() as tx:
        rows = await tx.fetch('SELECT value, error FROM toy.dead_letters ORDER BY partition, "offset"')
    return [(msgspec.json.decode(row["value"])["id"], row["error"]) for row in rows]
