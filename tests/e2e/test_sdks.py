"""Segment's Python SDK as an app has it, only its host set: what it sends arrives once, and is read in the timeline."""

import asyncio
import re
import sys
import uuid
from collections import Counter
from typing import Any

import pytest
from segment.analytics.client import Client

from deploy.demo.api import Api
from deploy.local.errors import LocalError
from deploy.local.platform import Platform
from tests.e2e.test_readme import README, placed
from tests.support import eventually

SAID = Counter({"Identified": 1, "Order Completed": 1})


async def names(api: Api, user: str) -> Counter[str]:
    """What the timeline says that an app said, by name; nothing while the customer is not known yet."""
    try:
        page = await api.get("profile", f"/v1/customers/user:{user}/timeline")
    except LocalError:
        return Counter()
    return Counter(item["name"] for item in page["items"] if item["source"].startswith("/apps/"))


def send(host: str, key: str, user: str, **options: Any) -> list[str]:
    """An identify and an order, the order sent again as a retry would; returns the errors that the SDK reports."""
    errors: list[str] = []
    client = Client(key, host=host, on_error=lambda error, _: errors.append(str(error)), max_retries=2, **options)
    client.identify(user, {"email": f"{user}@example.com"}, anonymous_id=f"device-{user}")
    order = {"order_id": f"o-{user}", "revenue": 29.33, "currency": "USD"}
    for _ in range(2):
        client.track(user, "Order Completed", order, message_id=f"m-{user}")
    if not client.sync_mode:  # it has sent each at once, and has nothing to wait for
        client.flush()
        client.join()
    return errors


@pytest.mark.parametrize(
    "options", [{}, {"gzip": True}, {"sync_mode": True}, {"thread": 2}], ids=["plain", "gzip", "sync", "threads"]
)
async def test_what_the_sdk_sends_arrives_once(platform: Platform, api: Api, options: dict[str, Any]) -> None:
    user = f"sdk-{uuid.uuid4().hex[:8]}"
    key = platform.tokens["write_key"]
    assert await asyncio.to_thread(send, platform.urls["ingest"], key, user, **options) == []

    async def arrived() -> bool:
        return await names(api, user) >= SAID

    await eventually(arrived)
    assert await names(api, user) == SAID
    customer = await api.get("profile", f"/v1/customers/anon:device-{user}")
    assert (customer["user_id"], customer["orders"], customer["revenue"]) == (user, 1, {"USD": "29.33"})
    assert customer["traits"] == {"email": f"{user}@example.com"}


async def test_the_readmes_snippet(platform: Platform, api: Api) -> None:
    (snippet,) = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    user = f"readme-{uuid.uuid4().hex[:8]}"
    program = placed(snippet, platform).replace('"ann"', repr(user)).replace('"A-2"', repr(f"A-{user}"))
    program = re.sub(r'write_key = ".*"', f'write_key = "{platform.tokens["write_key"]}"', program)
    process = await asyncio.create_subprocess_exec(sys.executable, "-W", "ignore", "-c", program)
    assert await asyncio.wait_for(process.wait(), 60) == 0

    async def arrived() -> bool:
        return await names(api, user) == SAID

    await eventually(arrived)


async def test_a_key_that_is_wrong_is_told_of(platform: Platform) -> None:
    errors = await asyncio.to_thread(send, platform.urls["ingest"], "rk_nobody", "nobody")
    assert errors
    assert all("write key" in error for error in errors)
