"""A stage on each log, for the few runs that are played with all other tests."""

import shutil
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.faults.disk import Disk, mountable
from tests.faults.stage import Stage


@pytest.fixture(scope="package")
async def stage() -> AsyncIterator[Stage]:
    """The platform with its log in PostgreSQL."""
    home = Path(tempfile.mkdtemp(prefix="rapport-faults-"))
    async with Stage(home, "postgres", Disk(home) if mountable() else None) as running:
        yield running
    shutil.rmtree(home, ignore_errors=True)


@pytest.fixture(scope="package")
async def kafka_stage() -> AsyncIterator[Stage]:
    """The platform with its log in Kafka."""
    home = Path(tempfile.mkdtemp(prefix="rapport-faults-"))
    async with Stage(home, "kafka") as running:
        yield running
    shutil.rmtree(home, ignore_errors=True)
