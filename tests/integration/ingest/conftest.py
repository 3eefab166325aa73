"""A real ingest (a process of its own, real HTTP) on a real PostgreSQL."""

import uuid
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import msgspec
import pytest
from pydantic import SecretStr

from deploy.local.postgres import Postgres
from libs.common.contracts.records import Envelope, decode
from libs.common.db.migrate import migrate
from libs.common.settings import Settings
from tests.client import token
from tests.process import ServiceProcess

ADMIN = token("sources:read", "sources:write")
#: An event that is stored as it is.
GOOD = {"type": "track", "event": "Product Viewed", "userId": "ann", "messageId": "good"}


class Ingest(ServiceProcess):
    """`python -m services.ingest` on a free port."""

    def __init__(self, dsn: str, log: Path, **environment: str) -> None:
        super().__init__("ingest", dsn, log, RAPPORT_INGEST_HASH_KEY="k" * 32, **environment)


class Source:
    """A source of its own for one test, and what it has in the log."""

    def __init__(self, ingest: Ingest, name: str, created: Mapping[str, Any]) -> None:
        self.ingest = ingest
        self.name = name
        self.id: str = created["id"]
        self.key: str = created["write_key"]

    async def post(self, path: str, body: object, **options: Any) -> httpx.Response:
        """Post as most SDKs do: JSON, the key as the user of Basic."""
        options.setdefault("auth", (self.key, ""))
        content = body if isinstance(body, bytes) else msgspec.json.encode(body)
        async with httpx.AsyncClient(base_url=self.ingest.url, timeout=30) as client:
            return await client.post(path, content=content, **options)

    async def records(self) -> list[Envelope]:
        """This source's records, in the order in which they were appended to each partition."""
        connection = await asyncpg.connect(self.ingest.dsn)
        try:
            rows = await connection.fetch('SELECT value FROM log."ingest.events" ORDER BY partition, "offset"')
        finally:
            await connection.close()
        found = [decode(row["value"]) for row in rows]
        return [record for record in found if record.source == f"/apps/{self.name}"]

    async def events(self) -> list[dict[str, Any]]:
        """The `data` of its records."""
        return [msgspec.json.decode(record.data) for record in await self.records()]


async def add_source(ingest: Ingest, **members: object) -> Source:
    name = f"test-{uuid.uuid4().hex[:12]}"
    async with httpx.AsyncClient(base_url=ingest.url, timeout=60) as client:
        created = await client.post("/v1/sources", json={"name": name, **members}, headers=ADMIN)
    assert created.status_code == 201, created.text
    return Source(ingest, name, created.json())


async def new_database(postgres: Postgres) -> str:
    """A fresh database with the log and ingest's tables."""
    name = f"ingest_{uuid.uuid4().hex}"
    dsn = postgres.create_database(name)
    await migrate(Settings(database_url=SecretStr(dsn)), ("log", "ingest"))
    return dsn


@pytest.fixture(scope="package")
async def ingest(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Ingest]:
    """One for all tests that leave it as it is; each has its own source."""
    service = Ingest(await new_database(postgres), tmp_path_factory.mktemp("ingest") / "log")
    try:
        await service.ready()
        yield service
    finally:
        service.stop()


@pytest.fixture
async def source(ingest: Ingest) -> Source:
    return await add_source(ingest)


@pytest.fixture
async def client(ingest: Ingest) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=ingest.url, timeout=30) as opened:
        yield opened
