"""Traffic for the operators' tests: orders that give points, and how many points there should be."""

import uuid

import httpx

from deploy.demo.api import Api
from deploy.local.platform import Platform
from tests.support import eventually

PROGRAMME = {
    "name": "Operators",
    "earning": [{"id": "per-dollar", "on": "Order Completed", "earn": {"points": 1, "per": 1, "of": "revenue"}}],
    "levels": [],
    "badges": [],
}


class Shop:
    """`sell` posts orders of one customer and remembers what was acknowledged."""

    def __init__(self, platform: Platform, user: str | None = None, points: int = 0) -> None:
        self.platform = platform
        self.user = user or f"shopper-{uuid.uuid4().hex[:8]}"
        self.points = points

    async def open(self, api: Api) -> None:
        """Publish the programme."""
        programme = await api.post("rewards", "/v1/programmes", PROGRAMME)
        await api.post("rewards", f"/v1/programmes/{programme['id']}/publish")

    async def sell(self, orders: int = 1, message: str | None = None) -> None:
        """Post orders of 10 dollars; with `message` always the same one, which counts once."""
        async with httpx.AsyncClient(timeout=30) as client:
            for _ in range(orders):
                id = message or uuid.uuid4().hex
                event = {
                    "userId": self.user, "event": "Order Completed", "messageId": id,
                    "properties": {"order_id": id, "revenue": 10, "currency": "USD"},
                }  # fmt: skip
                url, key = f"{self.platform.urls['ingest']}/v1/track", self.platform.tokens["write_key"]
                answer = await client.post(url, json=event, auth=(key, ""))
                answer.raise_for_status()
                self.points += 10

    async def balance(self) -> int:
        """The customer's points; 0 while nobody knows them."""
        headers = {"authorization": f"Bearer {self.platform.tokens['marketer']}"}
        async with httpx.AsyncClient(timeout=30) as client:
            url = f"{self.platform.urls['rewards']}/v1/customers/user:{self.user}/points"
            answer = await client.get(url, headers=headers)
        return int(answer.json()["available"]) if answer.status_code == 200 else 0

    async def credited(self, within: float = 60) -> None:
        """Wait until each order has given its points, once."""

        async def all_there() -> bool:
            return await self.balance() >= self.points

        await eventually(all_there, within)
        assert await self.balance() == self.points
