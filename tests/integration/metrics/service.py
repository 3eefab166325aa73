"""The metrics service on a real port over a real database, and the journal that profile would write."""

from contextlib import AbstractAsyncContextManager
from datetime import UTC, date, datetime, time
from itertools import count
from typing import Any
from uuid import UUID

import msgspec

from libs.common.contracts.ids import derived
from libs.common.contracts.metrics import METRICS, ScoreChanged
from libs.common.contracts.records import Binding, Snapshot
from libs.common.log.append import Outgoing
from services.metrics.app import create
from services.metrics.settings import Settings
from tests.client import ServiceClient
from tests.support import journal_record
from tests.unit.metrics import cdnow

_numbers = count()


class Metrics(ServiceClient):
    """What a test does with the service."""

    service = "metrics"
    writes = METRICS

    async def fit(self, **body: Any) -> Any:
        return await self.post("fits", body, 201)

    async def score_facts(self) -> list[tuple[str, ScoreChanged]]:
        """Each change of a customer's score, in the log's order. No fact is there twice."""
        facts = await self.facts()
        assert len({fact["id"] for fact in facts}) == len(facts)
        return [(fact["subject"], msgspec.convert(fact["data"], ScoreChanged, strict=False)) for fact in facts]

    async def rows(self, query: str, *arguments: object) -> list[tuple[Any, ...]]:
        return [tuple(row) for row in await self.database.pool.fetch(query, *arguments)]


def serving(settings: Settings) -> AbstractAsyncContextManager[Metrics]:
    """The service, ready."""
    return Metrics.serving(create(settings), settings)


def customer(name: str) -> UUID:
    return derived("customer", name)


def event(customer: UUID, name: str, on: date, *, hour: int = 12, **properties: Any) -> Outgoing:
    """A track event of the journal, at `hour` UTC."""
    id = f"message-{next(_numbers)}"
    data = {"type": "track", "messageId": id, "event": name, "properties": properties, "currency": "USD"}
    return journal_record(str(customer), data, id=id, time=datetime.combine(on, time(hour), UTC))


def order(customer: UUID, id: str, on: date, revenue: object, **more: Any) -> Outgoing:
    """An `Order Completed`."""
    return event(customer, "Order Completed", on, order_id=id, revenue=revenue, **more)


def merge(goes: UUID, stays: UUID) -> list[Outgoing]:
    """What profile appends when `goes` turns out to be `stays`."""
    number = next(_numbers)
    left = journal_record(
        str(goes), {"into": str(stays)}, id=f"left-{number}", type="customer.left.v1", source="/profile"
    )
    merged = journal_record(
        str(stays), {"other": str(goes)}, id=f"merged-{number}", type="customer.merged.v1", source="/profile"
    )
    return [left, merged]


def cdnow_records(stride: int = 1) -> list[Outgoing]:
    """The 18 months of each `stride`th customer of CDNOW as a journal, their first record binding their user id."""
    records = []
    for sample, purchases in list(cdnow.customers().items())[::stride]:
        id = customer(sample)
        bound = [Binding("user", sample, 1)]
        for order, bought in purchases.orders.items():
            data = {
                "type": "track",
                "messageId": order,
                "event": "Order Completed",
                "properties": {"order_id": order, "revenue": bought.minor / 100},
            }
            when = datetime.combine(date.fromordinal(bought.day), time(12), UTC)
            snapshot = Snapshot(id=str(id), bound=bound)
            records.append(journal_record(str(id), data, id=order, time=when, snapshot=snapshot))
            bound = []
    return sorted(records, key=lambda record: record.time)
