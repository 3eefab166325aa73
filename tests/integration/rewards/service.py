"""The rewards service on a real port over a real database, and the journal that profile would write."""

import uuid
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import Any

import httpx

from libs.common.contracts.records import Binding, Snapshot
from libs.common.contracts.rewards import REWARDS
from libs.common.log.append import Outgoing
from services.rewards.app import create
from services.rewards.settings import Settings
from tests.client import ServiceClient
from tests.support import journal_record

ANN = "11111111-1111-8111-8111-111111111111"
BEN = "22222222-2222-8222-8222-222222222222"

PROGRAMME: dict[str, Any] = {
    "name": "Club",
    "earning": [{"id": "two-per-unit", "earn": {"per": 1, "points": 2, "of": "revenue"}}],
    "levels": [{"id": "bronze", "name": "Bronze", "points": 50}, {"id": "gold", "name": "Gold", "points": 500}],
    "badges": [{"id": "regular", "name": "Regular", "count": 2}],
}


class Rewards(ServiceClient):
    """What a test does with the service."""

    service = "rewards"
    writes = REWARDS

    async def publish(self, programme: dict[str, Any] = PROGRAMME) -> Any:
        made = await self.client.post("/v1/programmes", json=programme)
        assert made.status_code == 201, made.text
        response = await self.client.post(f"/v1/programmes/{made.json()['id']}/publish")
        assert response.status_code == 200, response.text
        return response.json()

    async def adjust(self, ref: str, points: int, key: str | None = None, reason: str = "kindness") -> httpx.Response:
        return await self.client.post(
            f"/v1/customers/{ref}/adjustments",
            json={"points": points, "reason": reason},
            headers={"Idempotency-Key": key or uuid.uuid4().hex},
        )

    async def check(self) -> None:
        """The ledger's invariants over everything."""
        assert (await self.get("ledger"))["sum"] == 0
        checked = await self.get("ledger/check")
        assert checked["balanced"], checked


def serving(settings: Settings) -> AbstractAsyncContextManager[Rewards]:
    """The service, ready."""
    return Rewards.serving(create(settings), settings)


def order(
    customer: str,
    id: str,
    revenue: float | str,
    *,
    time: datetime | None = None,
    bound: list[Binding] | None = None,
    record: str | None = None,
    **properties: Any,
) -> Outgoing:
    """An `Order Completed` of the journal."""
    snapshot = Snapshot(id=customer, bound=bound or [])
    data = {
        "type": "track",
        "messageId": f"m-{id}",
        "event": "Order Completed",
        "properties": {"order_id": id, "revenue": revenue, **properties},
        "currency": "USD",
    }
    return journal_record(customer, data, id=record or f"order-{id}", snapshot=snapshot, time=time)


def refund(customer: str, order: str, amount: float | None = None, *, record: str | None = None) -> Outgoing:
    """An `Order Refunded`, of the whole order by default."""
    properties: dict[str, Any] = {"order_id": order}
    if amount is not None:
        properties["revenue"] = amount
    data = {"type": "track", "messageId": f"r-{order}", "event": "Order Refunded", "properties": properties}
    return journal_record(customer, data, id=record or f"refund-{order}-{amount}")


def merge(stays: str, goes: str) -> list[Outgoing]:
    """What profile appends when `goes` turns out to be `stays`."""
    left = journal_record(goes, {"into": stays}, id=f"left-{goes}", type="customer.left.v1", source="/profile")
    merged = journal_record(
        stays,
        {"other": goes},
        id=f"merged-{goes}",
        type="customer.merged.v1",
        source="/profile",
        snapshot=Snapshot(id=stays, bound=[Binding("anon", f"of-{goes}", 2)]),
    )
    return [left, merged]
