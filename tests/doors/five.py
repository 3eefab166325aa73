"""The five services as processes of their own, on one real PostgreSQL, for the tests that attack their doors."""

import asyncio
import os
import secrets
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from libs.common.contracts.registry import SERVICES
from libs.common.http.auth.keyring import generate_keys
from tests.client import token
from tests.process import ServiceProcess

CUSTOMERS = generate_keys()
"""The pair of the business's backend, which signs customers' tokens."""
CONSENT_SECRET = secrets.token_urlsafe(32)
HASH_KEY = secrets.token_urlsafe(32)
SIZE = int(os.environ.get("DOORS_SIZE", "1"))
"""How many times as many examples, bodies and connections as by default: `DOORS_SIZE=20 make test TESTS=tests/doors`."""


class Service(ServiceProcess):
    """One of the five, which takes customers' tokens too."""

    def __init__(self, name: str, dsn: str, log: Path, **environment: str) -> None:
        own = {
            "RAPPORT_CUSTOMER_PUBLIC_KEY": CUSTOMERS[1],
            "RAPPORT_PROFILE_CONSENT_SECRET": CONSENT_SECRET,
            "RAPPORT_INGEST_HASH_KEY": HASH_KEY,
            "RAPPORT_POOL_SIZE": "6",
            **environment,
        }
        super().__init__(name, dsn, log, **own)


@dataclass
class Five:
    """All services, ready; `known` has ids of what there is, by the name of the path's parameter."""

    services: dict[str, Service]
    dsn: str
    known: dict[str, dict[str, list[str]]] = field(default_factory=dict)
    write_key: str = ""

    def __post_init__(self) -> None:
        self.clients = {
            name: httpx.AsyncClient(base_url=service.url, timeout=60) for name, service in self.services.items()
        }

    def url(self, service: str) -> str:
        return self.services[service].url

    async def call(self, service: str, method: str, path: str, **options: Any) -> httpx.Response:
        """One request with a token that may do everything."""
        options.setdefault("headers", token())
        return await self.clients[service].request(method, path, **options)

    async def made(self, service: str, path: str, json: Any = None, **headers: str) -> dict[str, Any]:
        """What a POST has made."""
        answer = await self.call(service, "POST", path, json=json, headers={**token(), **headers})
        assert answer.is_success, f"{path}: {answer.text}"
        body: dict[str, Any] = answer.json()
        return body


async def start(dsn: str, folder: Path, **environment: str) -> Five:
    """All five, started at once."""
    services = {
        name: Service(name, dsn, folder / f"{name}.log", **environment) for name in SERVICES if name != "profile"
    }
    urls = ",".join(f"{name}={service.url}" for name, service in services.items())
    services["profile"] = Service(
        "profile", dsn, folder / "profile.log", RAPPORT_PROFILE_SERVICE_URLS=urls, **environment
    )
    five = Five({name: services[name] for name in SERVICES}, dsn)
    try:
        await asyncio.gather(*(service.ready() for service in services.values()))
    except BaseException:
        await stop(five)
        raise
    return five


async def stop(five: Five) -> None:
    for client in five.clients.values():
        await client.aclose()
    for service in five.services.values():
        service.process.terminate()
    for service in five.services.values():
        service.stop()
