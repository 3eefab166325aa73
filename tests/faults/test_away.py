"""While PostgreSQL or Kafka is away and apps go on sending, memory stays bounded, and readiness says what is missing."""

import asyncio
import uuid
from collections import Counter
from contextlib import suppress
from typing import Any, Literal

import httpx
import psutil  # type: ignore[import-untyped]

from libs.common.contracts.registry import SERVICES
from tests.faults.faults import running
from tests.faults.rest import at_rest
from tests.faults.stage import Stage
from tests.support import eventually

#: Apps send so many batches of nearly half a megabyte meanwhile, so many at a time: 170 MB, which are held twice at least.
BATCHES, AT_A_TIME, EVENTS = 400, 16, 14
#: No process may grow by more bytes: several times what sixteen batches take.
GROWTH = 100_000_000


async def test_postgresql_is_away(stage: Stage) -> None:
    await _away(stage, "postgres", "PostgreSQL")


async def test_kafka_is_away(kafka_stage: Stage) -> None:
    await _away(kafka_stage, "kafka", "Kafka")


async def _away(stage: Stage, part: Literal["postgres", "kafka"], called: str) -> None:
    stage.begin()
    assert set(await _send(stage, AT_A_TIME)) == {200}
    await at_rest(stage)
    processes = {service: psutil.Process(await running(stage, service)) for service in SERVICES}
    before = {service: process.memory_info().rss for service, process in processes.items()}
    pid = await running(stage, part)
    stage.hold_back(part, 600)
    dependency = stage.platform.postgres if part == "postgres" else stage.platform.kafka
    assert dependency is not None
    await asyncio.to_thread(dependency.kill)
    try:
        await eventually(lambda: _all_say(stage, called))
        peak = Counter(before)
        sending = asyncio.create_task(_send(stage, BATCHES))
        while not sending.done():
            for service, process in processes.items():
                peak[service] = max(peak[service], process.memory_info().rss)
            await asyncio.wait([sending], timeout=0.1)
        assert set(sending.result()) == {503}
        assert await _all_say(stage, called)
    finally:
        stage.hold_back(part, 0)
    await running(stage, part, other_than=pid)
    grown = {service: peak[service] - before[service] for service in SERVICES}
    assert max(grown.values()) < GROWTH, grown
    await at_rest(stage)
    assert {service: stage.pid(service) for service in SERVICES} == {
        service: process.pid for service, process in processes.items()
    }


async def _send(stage: Stage, batches: int) -> Counter[int]:
    """How batches were answered."""
    statuses: Counter[int] = Counter()
    waiting = iter(range(batches))
    url, key = f"{stage.platform.urls['ingest']}/v1/batch", stage.platform.tokens["write_key"]

    async def sender(client: httpx.AsyncClient) -> None:
        for _ in waiting:
            statuses[(await client.post(url, json=_batch(), auth=(key, ""))).status_code] += 1

    async with httpx.AsyncClient(timeout=30) as client, asyncio.TaskGroup() as senders:
        for _ in range(AT_A_TIME):
            senders.create_task(sender(client))
    return statuses


def _batch() -> dict[str, Any]:
    """Each of other events, of one customer."""
    return {
        "batch": [
            {"type": "page", "userId": "away", "messageId": str(uuid.uuid4()), "properties": {"text": "x" * 31_000}}
            for _ in range(EVENTS)
        ]
    }


async def _all_say(stage: Stage, called: str) -> bool:
    """Whether every service says that it is not ready, and for want of what."""
    for service in SERVICES:
        with suppress(httpx.TransportError):
            answer = await stage.get(service, "/readyz")
            if answer.status_code == 503 and called in answer.json()["detail"]:
                continue
        return False
    return True
