"""The five services as processes of their own, on one real PostgreSQL, for the tests that attack their doors."""

import asyncio
import importlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import httpx
from fastapi import FastAPI
from pydantic import SecretStr

from libs.common.contracts.registry import SCOPES, SERVICES
from libs.common.http.auth.keyring import generate_keys
from libs.common.http.auth.tokens import mint
from tests.conftest import KEYS
from tests.process import ServiceProcess

CUSTOMERS = generate_keys()
"""The pair of the business's backend, which signs customers' tokens."""
SIZE = int(os.environ.get("DOORS_SIZE", "1"))
"""How many times as many examples, bodies and connections as by default: `DOORS_SIZE=20 make test TESTS=tests/doors`."""


class Service(ServiceProcess):
    """One of the five, which takes customers' tokens too."""

    def __init__(self, name: str, dsn: str, log: Path, **environment: str) -> None:
        own = {"RAPPORT_CUSTOMER_PUBLIC_KEY": CUSTOMERS[1], "RAPPORT_POOL_SIZE": "6", **environment}
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
        options.setdefault("headers", bearer(*SCOPES))
        return await self.clients[service].request(method, path, **options)

    async def made(self, service: str, path: str, json: Any = None, **headers: str) -> dict[str, Any]:
        """What a POST has made."""
        answer = await self.call(service, "POST", path, json=json, headers={**bearer(*SCOPES), **headers})
        assert answer.is_success, f"{path}: {answer.text}"
        body: dict[str, Any] = answer.json()
        return body


@cache
def bearer(*scopes: str) -> dict[str, str]:
    """The header of a member of staff who holds `scopes`."""
    return {"authorization": f"Bearer {mint(KEYS[0], 'marta', scopes, timedelta(hours=1))}"}


class Operation(NamedTuple):
    """One method of one path of one service, as its OpenAPI page describes it."""

    service: str
    method: str
    path: str
    said: Mapping[str, Any]

    def __str__(self) -> str:
        return f"{self.service} {self.method} {self.path}"


@cache
def app(service: str) -> FastAPI:
    """A service as it is put together, never started."""
    settings = importlib.import_module(f"services.{service}.settings").Settings
    create = importlib.import_module(f"services.{service}.app").create
    url = SecretStr("postgresql://nobody@127.0.0.1:1/none")  # nothing connects before a service is started
    made: FastAPI = create(settings(database_url=url, jwt_public_key=generate_keys()[1]))
    return made


def operations() -> Iterator[Operation]:
    """Every operation of all five pages."""
    for service in SERVICES:
        for path, methods in app(service).openapi()["paths"].items():
            for method, said in methods.items():
                yield Operation(service, method.upper(), path, said)


async def start(dsn: str, folder: Path, **environment: str) -> Five:
    """All five, started at once."""
    services = {name: Service(name, dsn, folder / f"{name}.log", **environment) for name in SERVICES}
    five = Five(services, dsn)
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
