"""`python -m services.metrics` as a process of its own, to be killed."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx

from libs.common.settings import Settings
from tests.conftest import free_port

ROOT = Path(__file__).parents[3]


@asynccontextmanager
async def process(
    settings: Settings, failpoints: str = ""
) -> AsyncIterator[tuple[asyncio.subprocess.Process, httpx.AsyncClient]]:
    """The process, with failpoints, and a client for it. It is killed at the end."""
    port = free_port()
    environment = {
        **os.environ,
        "RAPPORT_PORT": str(port),
        "RAPPORT_DATABASE_URL": settings.dsn,
        "RAPPORT_JWT_PUBLIC_KEY": settings.jwt_public_key,
        "RAPPORT_FAILPOINTS": failpoints,
        "RAPPORT_DIE_WITH_PARENT": "1",
        "RAPPORT_POOL_SIZE": "6",
    }
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "services.metrics", cwd=ROOT, env=environment, stdout=asyncio.subprocess.DEVNULL
    )
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=20) as client:
            yield child, client
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()


async def killed_at(settings: Settings, failpoints: str) -> None:
    """Run a process until one of its failpoints kills it."""
    async with process(settings, failpoints) as (child, _):
        assert await asyncio.wait_for(child.wait(), 60) == -signal.SIGKILL


async def answers(client: httpx.AsyncClient) -> bool:
    """Whether the service is there and ready."""
    try:
        return (await client.get("/readyz")).status_code == 200
    except httpx.TransportError:
        return False
