"""A shop's traffic over the public API: browsing, identifying (with merges), orders, refunds, bad orders."""

import asyncio
import random
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime, timedelta
from typing import Any

import asyncpg
import httpx

from deploy.demo.api import Api
from deploy.demo.purchases import FIRST, LAST, events, orders
from deploy.local.errors import LocalError
from deploy.local.platform import Platform
from libs.common.contracts.profile import JOURNAL
from libs.common.log.append import append
from tests.support import eventually, journal_record

PROGRAMME = {
    "name": "Replayed",
    "earning": [
        {"id": "per-dollar", "earn": {"points": 1, "per": 1, "of": "revenue"}},
        {"id": "bonus", "on": "Badge Earned", "earn": {"points": 25}},
    ],
    "levels": [{"id": "silver", "name": "Silver", "points": 100}, {"id": "gold", "name": "Gold", "points": 400}],
    "badges": [{"id": "pairs", "name": "Pairs", "count": 2, "repeatable": True}],
}
BIG = {
    "name": "Big order",
    "trigger": {"event": "Order Completed", "when": "event.properties.revenue > 50"},
    "action": {
        "channel": "inbox",
        "purpose": "service",
        "text": "Thank you, {{ customer.traits.name | default: 'you' }}",
    },
    "limits": {"cap": {"count": 2, "period": "1d"}, "history": True},
}
BADGE = {
    "name": "Badge",
    "trigger": {"event": "Badge Earned"},
    "action": {"channel": "inbox", "purpose": "marketing", "text": "You have {{ event.properties.name }}"},
    "limits": {"history": True},
}
NEWS = {
    "name": "News",
    "trigger": {"event": "Message Sent", "when": "event.properties.hook != ''"},
    "action": {"channel": "inbox", "purpose": "service", "text": "Look"},
    "limits": {"cap": {"count": 1, "period": "30d"}, "history": True},
}


class Shop:
    """`people` have a browser each, and some of them two. Every message has an id: it may be sent again."""

    def __init__(self, platform: Platform, api: Api, seed: int, people: int = 120) -> None:
        self.platform, self.api = platform, api
        self.chance = random.Random(seed)  # noqa: S311 - a fixed history
        self.people = people
        self.sent = 0
        self.ordered: list[tuple[str, str]] = []

    def traffic(self, count: int) -> list[dict[str, Any]]:
        """Some calls of one batch."""
        return [self._call() for _ in range(count)]

    def _call(self) -> dict[str, Any]:
        chance, self.sent = self.chance, self.sent + 1
        person = int(self.people * chance.random() ** 1.7)  # some do more than others, for longer, for more money
        browser = f"browser-{person}-{chance.randrange(2)}"
        known = 20 + person * 53 % 280
        when = datetime.now(UTC) - timedelta(days=300 - chance.randrange(known), seconds=chance.randrange(80_000))
        call: dict[str, Any] = {
            "messageId": f"m-{self.sent}", "anonymousId": browser, "timestamp": when.isoformat()
        }  # fmt: skip
        if chance.random() < 0.3:
            call["context"] = {"consent": {"categoryPreferences": {"marketing": chance.random() < 0.8}}}
        roll = chance.random()
        if roll < 0.25:
            return {**call, "type": "track", "event": "Product Viewed", "properties": {"sku": f"s{person}"}}
        if roll < 0.45:
            return {**call, "type": "identify", "userId": f"user-{person}", "traits": {"name": f"Name {person}"}}
        if roll < 0.85 or not self.ordered:
            order = f"o-{self.sent}"
            self.ordered.append((browser, order))
            amount = round((5 + 90 * (person * 37 % 100 / 100) ** 2) * chance.expovariate(1) + 1, 2)
            return {
                **call, "type": "track", "event": "Order Completed",
                "properties": {"order_id": order, "revenue": amount, "currency": "USD"},
            }  # fmt: skip
        browser, order = chance.choice(self.ordered)
        refund: dict[str, Any] = {"order_id": order}
        if chance.random() < 0.5:
            refund["revenue"] = 10
        event = "Order Cancelled" if chance.random() < 0.2 else "Order Refunded"
        return {**call, "anonymousId": browser, "type": "track", "event": event, "properties": refund}

    async def post(self, calls: list[dict[str, Any]]) -> None:
        """Until it is taken: a service may be on its way back."""

        async def taken() -> bool:
            try:
                async with httpx.AsyncClient(timeout=20) as client:
                    answer = await client.post(
                        f"{self.platform.urls['ingest']}/v1/batch",
                        json={"batch": calls},
                        auth=(self.platform.tokens["write_key"], ""),
                    )
            except httpx.HTTPError:
                return False
            assert answer.status_code in (200, 503), answer.text
            return answer.status_code == 200

        await eventually(taken)

    async def real_purchases(self) -> date:
        """A fifth of the demo's purchases, so that models can be fitted; as of which day only these are known."""
        shift = datetime.now(UTC).date() - timedelta(days=1) - LAST
        some = [order for order in orders() if order.customer % 5 == 0]
        calls = [
            {
                "type": "identify" if event.kind == "identify" else "track",
                "messageId": event.message_id,
                "timestamp": event.at.isoformat(),
                "event": "Order Completed",
                "properties": event.properties,
                **({"userId": event.user_id} if event.user_id else {}),
                **({"anonymousId": event.anonymous_id} if event.anonymous_id else {}),
            }
            for event in events(some, shift, FIRST, LAST)
        ]
        for first in range(0, len(calls), 400):
            await self.post(calls[first : first + 400])
        self.sent += len(calls)
        return datetime.now(UTC).date() - timedelta(days=302)

    async def refused(self) -> None:
        """Ingest answers 503, so that clients send again; what was refused is sent by nobody here."""
        calls = self.traffic(3)
        self.sent -= 3
        async with httpx.AsyncClient(timeout=20) as client:
            url, auth = f"{self.platform.urls['ingest']}/v1/batch", (self.platform.tokens["write_key"], "")
            answer = await client.post(url, json={"batch": calls}, auth=auth)
        assert answer.status_code == 503, answer.text

    async def insist(self, service: str, path: str, body: Any = None, role: str = "operator") -> Any:
        """A POST, until it is answered with other than 503; None where it is refused."""
        found: list[Any] = []

        async def answered() -> bool:
            try:
                found.append(await self.api.post(service, path, body, role))
            except httpx.HTTPError:
                return False
            except LocalError as error:
                if "answered 503" in str(error) or "answered 500" in str(error):
                    return False
                found.append(None)
            return True

        await eventually(answered)
        return found[0]

    async def publish(self, service: str, path: str, body: Any) -> Any:
        made = await self.api.post(service, path, body)
        await self.api.post(service, f"{path}/{made['id']}/publish")
        return made

    async def adjust(self, points: int) -> bool:
        """Points for somebody; False when they are not known (yet), or have too few."""
        who = f"user:user-{self.chance.randrange(self.people)}"
        headers = {"authorization": f"Bearer {self.platform.tokens['marketer']}"}
        try:
            async with httpx.AsyncClient(timeout=20) as client:
                answer = await client.post(
                    f"{self.platform.urls['rewards']}/v1/customers/{who}/adjustments",
                    json={"points": points, "reason": "replayed"},
                    headers={**headers, "Idempotency-Key": f"k-{self.sent}-{self.chance.random()}"},
                )
        except httpx.HTTPError:
            return False
        return answer.status_code == 201

    async def consent(self, status: str) -> bool:
        """Somebody grants or denies marketing; False when they are not known (yet)."""
        who = f"user:user-{self.chance.randrange(self.people)}"
        headers = {"authorization": f"Bearer {self.platform.tokens['marketer']}"}
        try:
            async with httpx.AsyncClient(timeout=20) as client:
                url = f"{self.platform.urls['profile']}/v1/customers/{who}/consents/marketing"
                answer = await client.put(url, json={"status": status}, headers=headers)
        except httpx.HTTPError:
            return False
        return answer.status_code == 200

    async def opt(self, how: str) -> None:
        """Somebody opts out (off) or in (on)."""
        await self.insist("triggers", f"/v1/customers/user:user-{self.chance.randrange(self.people)}/messages/{how}")

    async def poison(self, count: int) -> None:
        """Orders in the journal that neither rewards nor metrics can read, of people whom profile knows."""
        connection = await asyncpg.connect(self.platform.dsn)
        try:
            rows = await connection.fetch(
                "SELECT id FROM profile.customers WHERE merged_into IS NULL ORDER BY id LIMIT $1", count
            )
            records = [
                journal_record(
                    str(row["id"]),
                    {"type": "track", "event": "Order Completed", "messageId": "", "properties": {"revenue": [number]}},
                    id=str(uuid.uuid4()),
                )
                for number, row in enumerate(rows)
            ]
            async with connection.transaction():
                await append(connection, JOURNAL, records, 8)
        finally:
            await connection.close()

    async def settle_some(self, service: str) -> int:
        """Of the dead letters a third is mended and replayed, a third discarded; how many were replayed."""
        page = await self.api.get(service, f"/v1/{service}/dead-letters", "operator", limit=200)
        replayed = 0
        for place, letter in enumerate(page["items"]):
            path = f"/v1/{service}/dead-letters/{letter['id']}"
            if place % 3 == 0:
                data = (await self.api.get(service, path, "operator"))["record"]["data"]
                data.pop("customer")
                data["properties"] = {"order_id": letter["id"], "revenue": 33.33}
                replayed += await self.insist(service, f"{path}/replay", {"data": data}) is not None
            elif place % 3 == 1:
                await self.insist(service, f"{path}/discard", {"reason": "a test"})
        return replayed

    async def caught_up(self) -> None:
        """All readers, and deliveries; on two readings."""
        quiet = 0

        async def still() -> bool:
            nonlocal quiet
            try:
                lag = await self.api.lag()
                if lag is not None:
                    lag += int((await self.api.get("triggers", "/v1/triggers/summary"))["queued"])
            except (httpx.HTTPError, LocalError):
                lag = None
            quiet = quiet + 1 if lag == 0 else 0
            return quiet > 1

        await eventually(still, within=100)


@asynccontextmanager
async def going_on(shop: Shop) -> AsyncIterator[None]:
    """Traffic, commands and opt-outs the while: less than a slow machine can take."""

    async def work() -> None:
        while True:
            await shop.post(shop.traffic(10))
            await shop.adjust(shop.chance.choice((5, 10, -2)))
            await shop.consent(shop.chance.choice(("granted", "denied")))
            if shop.chance.random() < 0.3:
                await shop.opt(shop.chance.choice(("off", "on")))
            await asyncio.sleep(0.25)

    task = asyncio.create_task(work())
    try:
        yield
    finally:
        task.cancel()
        results = await asyncio.gather(task, return_exceptions=True)
        if isinstance(results[0], Exception):
            raise results[0]
