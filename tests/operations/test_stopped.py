"""A merge that cannot be applied stops its partition: that is said to people and to Prometheus, and ends when it is mended."""

import uuid
from datetime import UTC, datetime

import asyncpg
import httpx

from deploy.demo.api import Api
from deploy.local.platform import Platform
from libs.common.contracts.profile import JOURNAL, CustomerMerged
from libs.common.contracts.records import encode
from libs.common.log.append import Outgoing, append
from libs.common.log.partition import partition_of
from tests.operations.exposition import scrape, story
from tests.operations.promql import evaluate, parse
from tests.operations.shop import Shop
from tests.operations.test_alerts import RULES
from tests.support import eventually

READERS = ["metrics", "rewards", "triggers"]


def record(type: str, other: str, customer: str) -> bytes:
    at = datetime.now(UTC)
    data = {"other": other, "customer": {"id": customer}}
    return encode(
        id=f"broken-{customer}", source="/profile", type=type, time=at, recordedtime=at, data=data, subject=customer,
        causationid="e-broken",
    )  # fmt: skip


async def firing(platform: Platform) -> list[str]:
    """The services of which the alert says that a partition has stopped."""
    found = evaluate(parse(RULES["RapportPartitionStopped"]["expr"]), story((0.0, await scrape(platform))))
    assert isinstance(found, dict)
    return sorted(dict(labels)["service"] for labels in found)


async def test_a_broken_merge_is_told_until_it_is_mended(platform: Platform, api: Api) -> None:
    customer = str(uuid.uuid4())
    partition = partition_of(customer, 8)
    broken = Outgoing(customer, record(CustomerMerged.TYPE, "nobody's id", customer), datetime.now(UTC))
    connection = await asyncpg.connect(platform.dsn)
    try:
        async with connection.transaction():
            await append(connection, JOURNAL, [broken], 8)

        async def told() -> bool:
            return await firing(platform) == READERS

        await eventually(told)
        async with httpx.AsyncClient(timeout=60) as client:
            answer = await client.get(f"{platform.urls['rewards']}/readyz")
            people = (await client.get(f"{platform.urls['rewards']}/readyz?verbose")).text
        assert answer.status_code == 200
        assert answer.json()["detail"].startswith(
            f"Ready, but partition {JOURNAL}/{partition} has been stopped at offset"
        )
        assert f"Needs a person: partition {JOURNAL}/{partition} has been stopped at offset" in people
        assert f"record broken-{customer} (customer.merged.v1) fails with" in people
        assert "What to do: Look at each of what needs a person: docs/operations.md#a-partition-has-stopped." in people
        logged = (platform.home / "logs" / "rewards.log").read_text()
        (line,) = [line for line in logged.splitlines() if '"fold stopped at a record"' in line and customer in line]
        assert '"causation_id":"e-broken"' in line

        mended = record("nothing.happened.v1", "nobody's id", customer)
        status = await connection.execute(
            'UPDATE log."profile.journal" SET value = $1 WHERE partition = $2 AND key = $3', mended, partition, customer
        )
        assert status == "UPDATE 1"

        async def over() -> bool:
            return await firing(platform) == []

        await eventually(over)
    finally:
        await connection.close()
    shop = Shop(platform)
    await shop.open(api)
    await shop.sell(8)
    await shop.credited()
