"""Following an inbox over real HTTP, as an app does: its own token or a ticket, and the events of a stream."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import httpx
import msgspec

from libs.common.contracts.registry import OWN_SCOPES, OwnScope
from libs.common.http.auth.tokens import mint_customer
from tests.conftest import CUSTOMER_KEYS
from tests.integration.triggers.service import Triggers

STREAM = "/v1/customers/user:ann/inbox/stream"


def own(ref: str = "user:ann", *scopes: OwnScope, ttl: timedelta = timedelta(hours=1)) -> dict[str, str]:
    return {"Authorization": f"Bearer {mint_customer(CUSTOMER_KEYS[0], ref, scopes or OWN_SCOPES, ttl=ttl)}"}


@dataclass
class Event:
    """One event of a stream."""

    name: str
    id: str
    data: dict[str, Any]


@asynccontextmanager
async def followed(
    client: httpx.AsyncClient, path: str = STREAM, **options: Any
) -> AsyncIterator[AsyncIterator[Event]]:
    """Follow a stream without the client's own token."""
    async with (
        httpx.AsyncClient(base_url=client.base_url, timeout=30) as http,
        http.stream("GET", path, **options) as answer,
    ):
        assert answer.status_code == 200, await answer.aread()
        assert answer.headers["content-type"].startswith("text/event-stream")
        yield events(answer)


async def events(answer: httpx.Response) -> AsyncIterator[Event]:
    fields: dict[str, str] = {}
    async for line in answer.aiter_lines():
        if line:
            name, _, value = line.partition(": ")
            fields[name] = value
        elif "data" in fields:
            yield Event(fields["event"], fields["id"], msgspec.json.decode(fields["data"]))
            fields = {}


async def ticket(triggers: Triggers, ref: str = "user:ann", headers: dict[str, str] | None = None) -> str:
    answer = await triggers.client.post(f"/v1/customers/{ref}/inbox/stream/tickets", headers=headers or own(ref))
    assert answer.status_code == 201, answer.text
    return str(answer.json()["ticket"])


async def refused(triggers: Triggers, path: str, headers: dict[str, str] | None = None) -> tuple[int, str]:
    async with httpx.AsyncClient(base_url=triggers.client.base_url, timeout=60) as http:
        answer = await http.get(path, headers=headers)
        return answer.status_code, answer.json()["detail"]
