"""All five services, running and filled, once for all tests that leave them as they are."""

import uuid
from collections.abc import AsyncIterator

import pytest

from deploy.local.postgres import Postgres
from tests.doors.five import Five, start, stop
from tests.doors.seed import seed


@pytest.fixture(scope="session")
async def five(postgres: Postgres, template: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Five]:
    dsn = postgres.create_database(f"doors_{uuid.uuid4().hex}", template=template)
    running = await start(dsn, tmp_path_factory.mktemp("doors"))
    try:
        await seed(running)
        yield running
    finally:
        await stop(running)
