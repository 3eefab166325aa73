"""Both logs as one parameter: what is promised of the log is tested on each."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import psutil  # type: ignore[import-untyped]
import pytest

from libs.common.db.pool import Database
from libs.common.settings import Settings
from tests.integration.log.logs import KafkaLog, Log, Part, PostgresLog, started
from tests.support import eventually

P = TypeVar("P", bound=Part)


class Running:
    """`await running(part)` starts it; it is stopped at the end of the test."""

    def __init__(self) -> None:
        self.parts: list[Part] = []

    async def __call__(self, part: P) -> P:
        await eventually(lambda: started(part))
        self.parts.append(part)
        return part


@pytest.fixture
async def running() -> AsyncIterator[Running]:
    parts = Running()
    yield parts
    for part in reversed(parts.parts):
        await part.stop()


Start = Callable[..., Awaitable["Child"]]


class Child:
    """A process of `children`, and what it says."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    async def stopped(self) -> bool:
        """Whether it stands still, at its failpoint."""
        return bool(psutil.Process(self.process.pid).status() == psutil.STATUS_STOPPED)

    async def says(self, word: str, within: float = 60.0) -> None:
        """Wait until it has said `word`."""
        assert self.process.stdout
        async with asyncio.timeout(within):
            while (line := await self.process.stdout.readline()).decode().strip() != word:
                assert line, f"it ended without saying {word}"


@pytest.fixture
async def child() -> AsyncIterator[Start]:
    """Starts a process of `children` with settings and failpoints; killed at the end of the test."""
    started: list[Child] = []

    async def start(what: str, settings: Settings, failpoints: str) -> Child:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "tests.integration.log.children", what),
            cwd=Path(__file__).parents[3],
            env={
                **os.environ,
                "RAPPORT_FAILPOINTS": failpoints,
                "RAPPORT_DATABASE_URL": settings.dsn,
                "RAPPORT_LOG": settings.log,
                "RAPPORT_KAFKA_BOOTSTRAP": settings.kafka_bootstrap,
                "RAPPORT_TOPIC_PREFIX": settings.topic_prefix,
            },
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
        started.append(Child(process))
        await started[-1].says("running")
        return started[-1]

    yield start
    for each in started:
        if each.process.returncode is None:
            each.process.kill()
        await each.process.communicate()


@pytest.fixture(params=["postgres", "kafka"])
async def log(request: pytest.FixtureRequest, settings: Settings, database: Database, running: Running) -> Log:
    """A log, empty and running."""
    if request.param == "kafka":
        return await running(KafkaLog(request.getfixturevalue("kafka_settings"), database))
    return await running(PostgresLog(settings, database))


@pytest.fixture
async def kafka_log(kafka_settings: Settings, database: Database, running: Running) -> KafkaLog:
    """The log in Kafka, empty and running."""
    return await running(KafkaLog(kafka_settings, database))
