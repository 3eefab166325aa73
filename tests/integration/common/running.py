"""A service on a real port, in this process, for tests."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import httpx
import uvicorn
from fastapi import FastAPI

from libs.common.http.fast.connection import Protocol


@asynccontextmanager
async def running(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """Serve `app` on a free port of the loopback; gives a client for it."""
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


async def until(probe: Callable[[], Awaitable[bool]], seconds: float = 60) -> None:
    """Ask until it is so; TimeoutError when it never is."""
    async with asyncio.timeout(seconds):
        while not await probe():  # noqa: ASYNC110 - what is asked is another process's, there is no event
            await asyncio.sleep(0.02)


async def ready(client: httpx.AsyncClient) -> bool:
    """Whether the service says that it is ready."""
    return (await client.get("/readyz")).status_code == 200
