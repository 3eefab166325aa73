"""The triggers service on a real port over a real database, and the journal that profile would write."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import msgspec

from libs.common.contracts.events import ClientEvent
from libs.common.contracts.profile import JOURNAL
from libs.common.contracts.records import Binding, Snapshot
from libs.common.contracts.registry import SCOPES
from libs.common.contracts.triggers import TRIGGERS
from libs.common.db.pool import Database
from libs.common.http.auth.tokens import mint
from libs.common.log.append import Outgoing, append
from services.triggers.app import create
from services.triggers.settings import Settings
from tests.conftest import KEYS
from tests.integration.common.running import ready, running, until
from tests.support import eventually, journal_record

ANN = "11111111-1111-8111-8111-111111111111"
BEN = "22222222-2222-8222-8222-222222222222"

HOOK: dict[str, Any] = {
    "name": "Thank you",
    "trigger": {"event": "Order Completed", "when": "event.properties.revenue > 50"},
    "action": {"channel": "inbox", "title": "Thanks", "text": "Thank you for ${{ event.properties.revenue }}."},
}


def token(*scopes: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {mint(KEYS[0], 'marta', scopes or SCOPES, timedelta(hours=1))}"}


@dataclass
class Triggers:
    """What a test does with the service."""

    client: httpx.AsyncClient
    database: Database

    async def get(self, path: str, **params: Any) -> Any:
        response = await self.client.get(f"/v1/{path}", params=params)
        assert response.status_code == 200, response.text
        return response.json()

    async def post(self, path: str, json: Any = None, status: int = 200) -> Any:
        response = await self.client.post(f"/v1/{path}", json=json)
        assert response.status_code == status, response.text
        return response.json()

    async def put(self, path: str, json: Any, status: int = 200) -> Any:
        response = await self.client.put(f"/v1/{path}", json=json)
        assert response.status_code == status, response.text
        return response.json()

    async def hook(self, **changes: Any) -> str:
        """A published hook's id."""
        made = await self.post("hooks", {**HOOK, **changes}, 201)
        await self.post(f"hooks/{made['id']}/publish")
        return str(made["id"])

    async def why(self, hook: str, customer: str = ANN, **params: Any) -> Any:
        return await self.get(f"hooks/{hook}/why", customer=customer, **params)

    async def verdict(self, hook: str, customer: str = ANN, **params: Any) -> str:
        return str((await self.why(hook, customer, **params))["verdict"])

    async def expect(self, hook: str, *verdicts: str, customer: str = ANN) -> Any:
        """Wait until `why` gives one of the verdicts."""

        async def given() -> Any:
            answer = await self.why(hook, customer)
            return answer if answer["verdict"] in verdicts else None

        return await eventually(given)

    async def append(self, *records: Outgoing) -> None:
        async with self.database.transaction() as tx:
            await append(tx, JOURNAL, records, self.database.settings.partitions)

    async def journal(self, *records: Outgoing) -> None:
        """Append as profile does, and wait until all is folded and nothing is due."""
        await self.append(*records)
        await self.settled()

    async def settled(self) -> None:
        await eventually(self._settled)

    async def _settled(self) -> bool:
        behind = await self.database.pool.fetchval(
            "SELECT sum(heads.next - positions.next) FROM log.heads JOIN triggers.positions USING (topic, partition)"
            " WHERE reader = 'fold'"
        )
        due = await self.database.pool.fetchval(
            "SELECT count(*) FROM triggers.deliveries WHERE state = 'queued' AND (lease IS NOT NULL OR next_at <= now())"
        )
        return bool(behind == 0 and due == 0)

    async def facts(self) -> list[dict[str, Any]]:
        """What triggers has written into its log."""
        rows = await self.database.pool.fetch(f'SELECT value FROM log."{TRIGGERS}" ORDER BY partition, "offset"')
        return [msgspec.json.decode(row["value"]) for row in rows]

    async def types(self) -> list[str]:
        return [fact["type"] for fact in await self.facts()]

    async def due_now(self) -> None:
        """Let what waits for its next attempt be due."""
        await self.database.pool.execute(
            "UPDATE triggers.deliveries SET next_at = now() WHERE state = 'queued' AND lease IS NULL"
        )


@asynccontextmanager
async def serving(settings: Settings) -> AsyncIterator[Triggers]:
    """The service, ready."""
    database = await Database.connect(settings, "test")
    try:
        async with running(create(settings)) as client:
            client.headers.update(token())
            await until(lambda: ready(client))
            yield Triggers(client, database)
    finally:
        await database.close()


def event(
    customer: str,
    id: str,
    name: str = "Order Completed",
    *,
    properties: dict[str, Any] | None = None,
    context: dict[str, Any] | None = None,
    time: datetime | None = None,
    late: timedelta = timedelta(0),
    snapshot: Snapshot | None = None,
) -> Outgoing:
    """An event of the journal, received `late` after it happened: now, unless `time` says when it happened."""
    when = time or datetime.now(UTC) - late
    said = ClientEvent(type="track", messageId=id, event=name, properties=properties or {}, context=context or {})
    record = journal_record(
        customer, msgspec.to_builtins(said), id=f"r-{id}", time=when, snapshot=snapshot or Snapshot(id=customer)
    )
    received = f'"recordedtime":{msgspec.json.encode(when + late).decode()}'.encode()
    sent = f'"recordedtime":{msgspec.json.encode(when).decode()}'.encode()
    return record._replace(value=record.value.replace(sent, received, 1))


def order(customer: str, id: str, revenue: Any = 60, **more: Any) -> Outgoing:
    """An `Order Completed`."""
    return event(customer, id, properties={"order_id": id, "revenue": revenue}, **more)


def known_as(customer: str, user: str) -> Snapshot:
    """The customer, of whom this very record says the userId."""
    return Snapshot(id=customer, bound=[Binding("user", user, 1)])
