"""The OpenAPI pages of the services: their operations, without starting a service."""

import importlib
from collections.abc import Iterator
from functools import cache
from typing import Any, NamedTuple

from fastapi import FastAPI
from pydantic import SecretStr

from libs.common.contracts.registry import SERVICES
from libs.common.http.auth.keyring import generate_keys


class Operation(NamedTuple):
    """One method of one path of one service, as the service's page describes it."""

    service: str
    method: str
    path: str
    said: dict[str, Any]
    page: dict[str, Any]

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
    """Every operation of all services."""
    for service in SERVICES:
        page = app(service).openapi()
        for path, methods in page["paths"].items():
            for method, said in methods.items():
                yield Operation(service, method.upper(), path, said, page)
