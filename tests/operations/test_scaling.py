"""A second process of a service: it takes its share of the partitions, nothing counts twice, and it may go again."""

import sys
import uuid

import httpx

from deploy.demo.api import Api
from deploy.local.platform import Platform
from deploy.local.service import Service
from tests.conftest import free_port
from tests.operations.shop import Shop
from tests.support import eventually


async def owned(url: str) -> int:
    """The partitions of the journal that a process of rewards reads."""
    async with httpx.AsyncClient(timeout=60) as client:
        text = (await client.get(f"{url}/metrics")).text
    lines = [line for line in text.splitlines() if line.startswith("rapport_partitions_owned{")]
    return sum(int(float(line.split()[-1])) for line in lines)


async def test_a_second_process_shares_the_partitions_and_may_go(platform: Platform, api: Api) -> None:
    shop = Shop(platform)
    await shop.open(api)
    port = free_port()
    name = f"rewards-{uuid.uuid4().hex[:6]}"
    environment = {**platform.environment("rewards"), "RAPPORT_PORT": str(port)}
    second = Service(name, [sys.executable, "-m", "services.rewards"], environment, platform.home, port)
    first = platform.urls["rewards"]
    second.launch()
    try:
        second.wait_ready()

        async def shared() -> bool:
            return [await owned(first), await owned(second.url)] == [4, 4]

        await eventually(shared)
        await shop.sell(20)
        await shop.credited()
    finally:
        second.stop()

    async def alone() -> bool:
        return await owned(first) == 8

    await eventually(alone)
    await shop.sell(5)
    await shop.credited()
