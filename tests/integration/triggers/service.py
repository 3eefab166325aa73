"""The triggers service on a real port over a real database, and the journal that profile would write."""

from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from libs.common.contracts.events import ClientEvent
from libs.common.contracts.records import Binding, Snapshot
from libs.common.contracts.triggers import TRIGGERS
from libs.common.log.append import Outgoing
from services.triggers.app import create
from services.triggers.settings import Settings
from tests.client import ServiceClient
from tests.support import eventually, journal_record

ANN = "11111111-1111-8111-8111-111111111111"
BEN = "22222222-2222-8222-8222-222222222222"
CONSENTS = {"marketing": True}

HOOK: dict[str, Any] = {
    "name": "Thank you",
    "trigger": {"event": "Order Completed", "when": "event.properties.revenue > 50"},
    "action": {"channel": "inbox", "title": "Thanks", "text": "Thank you for ${{ event.properties.revenue }}."},
}


class Triggers(ServiceClient):
    """What a test does with the service."""

    service = "triggers"
    writes = TRIGGERS

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

    async def journal(self, *records: Outgoing) -> None:
        """Append as profile does, and wait until all is folded and nothing is due."""
        await self.append(*records)
        await self.settled()

    async def settled(self) -> None:
        await eventually(self._is_settled)

    async def _is_settled(self) -> bool:
        if not await self.is_caught_up():
            return False
        due = await self.database.pool.fetchval(
            "SELECT count(*) FROM triggers.deliveries WHERE state = 'queued' AND (lease IS NOT NULL OR next_at <= now())"
        )
        return bool(due == 0)

    async def types(self) -> list[str]:
        return [fact["type"] for fact in await self.facts()]

    async def due_now(self) -> None:
        """Let what waits for its next attempt be due."""
        await self.database.pool.execute(
            "UPDATE triggers.deliveries SET next_at = now() WHERE state = 'queued' AND lease IS NULL"
        )


def serving(settings: Settings) -> AbstractAsyncContextManager[Triggers]:
    """The service, ready."""
    return Triggers.serving(create(settings), settings)


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
    """An event of the journal, received `late` after it happened: now, unless `time` says when it happened. The customer
    consents to marketing, unless `snapshot` says otherwise."""
    when = time or datetime.now(UTC) - late
    said = ClientEvent(type="track", messageId=id, event=name, properties=properties or {}, context=context or {})
    record = journal_record(
        customer,
        msgspec.to_builtins(said),
        id=f"r-{id}",
        time=when,
        snapshot=snapshot or Snapshot(id=customer, consent=CONSENTS),
    )
    received = f'"recordedtime":{msgspec.json.encode(when + late).decode()}'.encode()
    sent = f'"recordedtime":{msgspec.json.encode(when).decode()}'.encode()
    return record._replace(value=record.value.replace(sent, received, 1))


def consented(customer: str, id: str, consent: dict[str, bool]) -> Outgoing:
    """A `Consent Changed` of profile, after which the customer allows `consent`."""
    data = {
        "purpose": "marketing",
        "channel": "all",
        "status": "denied",
        "source": "test",
        "text_version": None,
        "by": None,
    }
    return journal_record(customer, data, id=f"c-{id}", type="consent.changed.v1", source="/profile", depth=1,
                          time=datetime.now(UTC), snapshot=Snapshot(id=customer, consent=consent))  # fmt: skip


def deselected(customer: str, id: str) -> Outgoing:
    """A `Customer Deselected` of profile."""
    return journal_record(customer, {"reason": "test", "by": "mary"}, id=f"d-{id}", type="customer.deselected.v1",
                          source="/profile", depth=1, time=datetime.now(UTC),
                          snapshot=Snapshot(id=customer, consent=CONSENTS, deselected=True))  # fmt: skip


def order(customer: str, id: str, revenue: Any = 60, **more: Any) -> Outgoing:
    """An `Order Completed`."""
    return event(customer, id, properties={"order_id": id, "revenue": revenue}, **more)


def known_as(customer: str, user: str) -> Snapshot:
    """The customer, of whom this very record says the userId."""
    return Snapshot(id=customer, bound=[Binding("user", user, 1)], consent=CONSENTS)
