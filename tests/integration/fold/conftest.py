"""The toy service, installed and running, in this process or in one of its own."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Protocol

import pytest

from libs.common.db.pool import Database
from libs.common.settings import Settings
from tests.integration.fold.toy import Running, install

ROOT = Path(__file__).parents[3]


class Start(Protocol):
    async def __call__(self, **environment: str) -> asyncio.subprocess.Process: ...


@pytest.fixture
async def toy(settings: Settings, database: Database) -> Database:
    """A database with the toy's schema."""
    await install(settings)
    return database


@pytest.fixture
async def running(toy: Database) -> AsyncIterator[Running]:
    """The toy in this process."""
    async with Running(toy) as service:
        yield service


@pytest.fixture
async def child(settings: Settings, toy: Database) -> AsyncIterator[Start]:
    """Starts the toy in a process of its own, with more in its environment; killed at the end of the test."""
    started: list[asyncio.subprocess.Process] = []

    async def start(**environment: str) -> asyncio.subprocess.Process:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "tests.integration.fold.toy", settings.dsn),
            cwd=ROOT,
            env={**os.environ, **environment},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        started.append(process)
        assert process.stdout is not None
        assert (await process.stdout.readline()).startswith(b"running")
        return process

    yield start
    for process in started:
        if process.returncode is None:
            process.kill()
        await process.communicate()
