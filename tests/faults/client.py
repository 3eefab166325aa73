"""The clients of a run: they send each request until it is answered with 200, as SDKs do."""

import asyncio
import random
from collections.abc import Sequence
from typing import Any

import httpx

from tests.faults.workload import Adjust, Said

#: An acknowledgement that has not come after so many seconds of asking will not come: that is a finding.
PATIENCE = 100.0
SENDERS = 3


class Refused(AssertionError):
    """A request of the workload was answered with what it must never be answered with."""


class Client:
    """Sends to ingest with the write key, and to rewards with the marketer's token."""

    def __init__(self, urls: dict[str, str], tokens: dict[str, str]) -> None:
        self._urls = urls
        self._key = tokens["write_key"]
        self._marketer = {"authorization": f"Bearer {tokens['marketer']}"}
        self._http = httpx.AsyncClient(timeout=8, limits=httpx.Limits(max_connections=30))
        self.retries = 0

    async def close(self) -> None:
        await self._http.aclose()

    async def send_all(self, requests: Sequence[list[Said]], seconds: float, chance: random.Random) -> None:
        """All requests, by a few senders at once, spread over about so many seconds (longer while ingest is away)."""
        waiting = list(enumerate(requests))[::-1]
        begun = asyncio.get_running_loop().time()

        async def sender() -> None:
            while waiting:
                place, request = waiting.pop()
                due = begun + seconds * place / len(requests)
                await asyncio.sleep(max(0.0, due - asyncio.get_running_loop().time()))
                await self.send(request, chance)

        async with asyncio.TaskGroup() as senders:
            for _ in range(SENDERS):
                senders.create_task(sender())

    async def send(self, request: list[Said], chance: random.Random) -> None:
        """One event alone, or several in a batch; returns when it is acknowledged."""
        if len(request) == 1:
            path, body = f"/v1/{request[0].kind}", request[0].body()
        else:
            path, body = "/v1/batch", {"batch": [said.body() for said in request]}
        answer = await self._insist(f"{self._urls['ingest']}{path}", body, chance, (200,), auth=(self._key, ""))
        if rejected := [each for each in answer.json()["results"] if each["status"] not in ("ok", "warning")]:
            raise Refused(f"ingest rejected {rejected[0]}")

    async def adjust(self, adjust: Adjust, chance: random.Random) -> None:
        """Give points, several times at once under one key: each time the same answer."""
        url = f"{self._urls['rewards']}/v1/customers/{adjust.ref}/adjustments"
        body = {"points": adjust.points, "reason": adjust.key}
        headers = {**self._marketer, "idempotency-key": adjust.key}
        asked = (self._insist(url, body, chance, (201,), headers=headers) for _ in range(adjust.copies))
        booked = {answer.json()["transaction"] for answer in await asyncio.gather(*asked)}
        if len(booked) != 1:
            raise Refused(f"the adjustment {adjust.key} was booked as {sorted(booked)}")

    async def _insist(
        self, url: str, body: Any, chance: random.Random, good: tuple[int, ...], **more: Any
    ) -> httpx.Response:
        until = asyncio.get_running_loop().time() + PATIENCE
        said = ""
        while asyncio.get_running_loop().time() < until:
            try:
                answer = await self._http.post(url, json=body, **more)
            except httpx.TransportError as error:
                said = repr(error)
            else:
                if answer.status_code in good:
                    return answer
                said = f"{answer.status_code} {answer.text[:300]}"
                if answer.status_code not in (404, 500, 503):
                    raise Refused(f"POST {url} was answered {said}")
                if answer.status_code == 500:
                    raise Refused(f"POST {url} failed: {said}")
            self.retries += 1
            await asyncio.sleep(chance.uniform(0.05, 0.4))
        raise Refused(f"POST {url} was not answered well for {PATIENCE:.0f} s, at last {said}")
