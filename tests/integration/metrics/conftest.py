"""A running metrics service: its real fold on real PostgreSQL, asked over real HTTP."""

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx
import msgspec
import pytest
from pydantic import SecretStr

from deploy.local.postgres import Postgres
from libs.common.contracts.ids import derived
from libs.common.contracts.metrics import METRICS, ScoreChanged
from libs.common.contracts.profile import JOURNAL
from libs.common.contracts.records import Binding, Snapshot, decode
from libs.common.db.pool import Database
from libs.common.http.auth.tokens import mint
from libs.common.log.append import Outgoing, append
from libs.common.settings import Settings as CommonSettings
from services.metrics.app import create
from services.metrics.settings import Settings
from tests.conftest import KEYS
from tests.integration.common.running import ready, running
from tests.support import eventually, journal_record
from tests.unit.metrics import cdnow


def bearer(*scopes: str) -> dict[str, str]:
    return {"authorization": f"Bearer {mint(KEYS[0], 'anna', scopes, timedelta(hours=1))}"}


ANALYST = bearer("metrics:read", "metrics:write")


@dataclass
class Journal:
    """Writes what profile would."""

    database: Database
    written: int = 0

    async def append(self, records: Iterable[Outgoing]) -> None:
        async with self.database.transaction() as tx:
            await append(tx, JOURNAL, list(records), 8)

    def event(self, customer: UUID, name: str, on: date, *, hour: int = 12, **properties: Any) -> Outgoing:
        """A track event at `hour` UTC."""
        self.written += 1
        id = f"message-{self.written}"
        when = datetime.combine(on, time(hour), UTC)
        data = {"type": "track", "messageId": id, "event": name, "properties": properties, "currency": "USD"}
        return journal_record(str(customer), data, id=id, time=when)

    def order(self, customer: UUID, order: str, on: date, revenue: object, **more: Any) -> Outgoing:
        return self.event(customer, "Order Completed", on, order_id=order, revenue=revenue, **more)

    def merge(self, gone: UUID, into: UUID) -> list[Outgoing]:
        """`gone` leaves, `into` absorbs them."""
        self.written += 1
        said: list[tuple[UUID, str, dict[str, Any]]] = [
            (gone, "customer.left.v1", {"into": str(into)}),
            (into, "customer.merged.v1", {"other": str(gone)}),
        ]
        return [
            journal_record(str(key), data, id=f"{type}-{self.written}", type=type, source="/profile")
            for key, type, data in said
        ]


@dataclass
class Metrics:
    """The service, and the journal that it reads."""

    client: httpx.AsyncClient
    journal: Journal
    headers: dict[str, str] = field(default_factory=lambda: ANALYST)

    async def told(self, *records: Outgoing) -> None:
        """Append to the journal, and wait until it has been folded."""
        await self.journal.append(records)
        await self.caught_up()

    async def caught_up(self) -> None:
        await eventually(self._no_lag)

    async def _no_lag(self) -> bool:
        answer = await self.client.get("/readyz")
        return answer.status_code == 200 and answer.json()["lag"]["records"] == 0

    async def get(self, path: str, **params: Any) -> Any:
        answer = await self.client.get(path, params=params, headers=self.headers)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def fit(self, **question: Any) -> Any:
        answer = await self.client.post("/v1/fits", json=question, headers=self.headers)
        assert answer.status_code == 201, answer.text
        return answer.json()

    async def facts(self) -> list[tuple[str, ScoreChanged]]:
        """What was said of whose score, in the log's order; no fact lies there twice."""
        rows = await self.rows(f'SELECT key, value FROM log."{METRICS}" ORDER BY partition, "offset"')
        assert len({decode(value).id for _, value in rows}) == len(rows)
        return [(key, msgspec.json.decode(decode(value).data, type=ScoreChanged)) for key, value in rows]

    async def rows(self, query: str, *arguments: object) -> list[tuple[Any, ...]]:
        async with self.journal.database.connection() as tx:
            return [tuple(row) for row in await tx.fetch(query, *arguments)]


def own(settings: CommonSettings, **more: Any) -> Settings:
    return Settings(**{**{name: getattr(settings, name) for name in settings.model_fields_set}, **more})


@asynccontextmanager
async def service(settings: Settings, database: Database) -> AsyncIterator[Metrics]:
    async with running(create(settings)) as client:
        await eventually(lambda: ready(client))
        yield Metrics(client, Journal(database))


@asynccontextmanager
async def fresh(postgres: Postgres, template: str, **more: Any) -> AsyncIterator[tuple[Settings, Database]]:
    """A migrated database of its own, for fixtures that outlive a test."""
    name = f"test_{uuid4().hex}"
    postgres.create_database(name, template=template)
    settings = Settings(database_url=SecretStr(postgres.dsn(name)), jwt_public_key=KEYS[1], pool_size=8, **more)
    database = await Database.connect(settings, "test")
    yield settings, database
    await database.close()


@pytest.fixture
async def metrics(settings: CommonSettings, database: Database) -> AsyncIterator[Metrics]:
    async with service(own(settings), database) as started:
        yield started


def customer(name: str) -> UUID:
    return derived("customer", name)


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
