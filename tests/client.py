"""A service in this process, on a real port over a real database, and a client for it."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from typing import Any, Self

import httpx
import msgspec
import uvicorn
from fastapi import FastAPI

from libs.common.contracts.profile import JOURNAL
from libs.common.contracts.registry import SCOPES
from libs.common.db.pool import Database
from libs.common.http.auth.tokens import mint
from libs.common.http.fast.connection import Protocol
from libs.common.log.append import Outgoing, append
from libs.common.settings import Settings
from tests.conftest import KEYS
from tests.support import eventually


@cache
def token(*scopes: str) -> dict[str, str]:
    """The header of a member of staff with `scopes`, or with all of them if none is given."""
    return {"authorization": f"Bearer {mint(KEYS[0], 'marta', scopes or SCOPES, timedelta(hours=1))}"}


async def append_to(database: Database, topic: str, *records: Outgoing) -> None:
    """Append to a topic, in a transaction of its own."""
    async with database.transaction() as tx:
        await append(tx, topic, records, database.settings.partitions)


@asynccontextmanager
async def running(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """Serve `app` on a free port of the loopback. Gives a client for it."""
    listening = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(
        uvicorn.Config(app, loop="uvloop", http=Protocol, log_config=None, access_log=False, lifespan="on")
    )
    task = asyncio.create_task(server.serve(sockets=[listening]))
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{listening.getsockname()[1]}", timeout=60) as client:
            yield client
    finally:
        server.should_exit = True
        await task


async def ready(client: httpx.AsyncClient) -> bool:
    """Whether the service is ready."""
    return (await client.get("/readyz")).status_code == 200


async def is_caught_up(database: Database, service: str) -> bool:
    """Whether a service has folded everything in the log."""
    behind = await database.pool.fetchval(
        f"SELECT sum(heads.next - positions.next) FROM log.heads JOIN {service}.positions USING (topic, partition)"
        " WHERE reader = 'fold'"
    )
    return bool(behind == 0)


@dataclass
class ServiceClient:
    """A running service: its API with a token that may do everything, and the journal that profile would write.

    `service` and `writes` are class attributes of each service's own client: its schema, and the topic of its facts.
    """

    client: httpx.AsyncClient
    database: Database

    service = ""
    writes = ""

    @classmethod
    @asynccontextmanager
    async def serving(cls, app: FastAPI, settings: Settings) -> AsyncIterator[Self]:
        """`app` on a free port, ready; stopped at the end."""
        database = await Database.connect(settings, "test")
        try:
            async with running(app) as client:
                client.headers.update(token())
                await eventually(lambda: ready(client))
                yield cls(client, database)
        finally:
            await database.close()

    async def ask(self, method: str, path: str, status: int = 200, **options: Any) -> Any:
        """The answer's JSON; AssertionError unless it has this status."""
        response = await self.client.request(method, f"/v1/{path}", **options)
        assert response.status_code == status, response.text
        return response.json()

    async def get(self, path: str, **params: Any) -> Any:
        return await self.ask("GET", path, params=params)

    async def post(self, path: str, json: Any = None, status: int = 200) -> Any:
        return await self.ask("POST", path, status, json=json)

    async def put(self, path: str, json: Any, status: int = 200) -> Any:
        return await self.ask("PUT", path, status, json=json)

    async def append(self, *records: Outgoing) -> None:
        """Append to the journal as profile does."""
        await append_to(self.database, JOURNAL, *records)

    async def journal(self, *records: Outgoing) -> None:
        """Append to the journal, and wait until all is folded."""
        await self.append(*records)
        await self.caught_up()

    async def caught_up(self) -> None:
        await eventually(self.is_caught_up)

    async def is_caught_up(self) -> bool:
        """Whether the service has folded everything in the log."""
        return await is_caught_up(self.database, self.service)

    async def facts(self) -> list[dict[str, Any]]:
        """The records of the service's topic, each with its key, partition by partition."""
        rows = await self.database.pool.fetch(
            f'SELECT key, value FROM log."{self.writes}" ORDER BY partition, "offset"'
        )
        return [{"key": row["key"], **msgspec.json.decode(row["value"])} for row in rows]
