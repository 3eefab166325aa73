"""The public API, as the demo uses it: REST with the development tokens."""

import time
from typing import Any

import httpx

from deploy.local.errors import LocalError
from deploy.local.platform import Platform

#: Seconds in a row that a service may be not ready before the demo fails.
PATIENCE = 60.0
WITH_LAG = ("profile", "rewards", "triggers", "metrics")


class Api:
    """`async with Api(platform)`: requests to the five services. An answer of 400 and above is a LocalError."""

    def __init__(self, platform: Platform) -> None:
        self._urls = platform.urls
        self._tokens = platform.tokens
        self._http = httpx.AsyncClient(timeout=120)
        self._unready_since: float | None = None

    async def __aenter__(self) -> "Api":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.aclose()

    async def get(self, service: str, path: str, role: str = "marketer", **query: Any) -> Any:
        return await self._call("GET", service, path, role, params={k: v for k, v in query.items() if v is not None})

    async def post(self, service: str, path: str, body: Any = None, role: str = "marketer") -> Any:
        return await self._call("POST", service, path, role, json=body)

    async def put(self, service: str, path: str, body: Any, role: str = "marketer") -> Any:
        return await self._call("PUT", service, path, role, json=body)

    async def lag(self) -> int | None:
        """Records that readers, forwarders included, have not read yet; None while a service is too busy to answer."""
        bodies = [(await self._http.get(f"{self._urls[name]}/readyz")).json() for name in WITH_LAG]
        late = [body for body in bodies if body["status"] != "ready"]
        if not late:
            self._unready_since = None
            return sum(int(body["lag"]["records"]) for body in bodies)
        now = time.monotonic()
        self._unready_since = self._unready_since or now
        if now - self._unready_since > PATIENCE:
            raise LocalError(f"{late[0]['service']} is not ready: {late[0]['detail']}")
        return None

    async def _call(self, method: str, service: str, path: str, role: str, **arguments: Any) -> Any:
        headers = {"authorization": f"Bearer {self._tokens[role]}"}
        answer = await self._http.request(method, self._urls[service] + path, headers=headers, **arguments)
        if answer.status_code >= 400:
            raise LocalError(f"{method} {path} was answered {answer.status_code}: {answer.text[:500]}")
        return answer.json() if answer.content else None
