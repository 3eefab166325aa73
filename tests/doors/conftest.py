"""All five services, running and filled, once for all tests that leave them as they are."""

import resource
import uuid
from collections.abc import AsyncIterator, Iterator

import pytest
from pydantic import SecretStr

from deploy.local.postgres import Postgres
from libs.common.db.migrate import migrate
from libs.common.settings import Settings
from tests.doors.five import Five, Service, start, stop
from tests.doors.seed import seed


@pytest.fixture(scope="package")
async def five(postgres: Postgres, template: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Five]:
    dsn = postgres.create_database(f"doors_{uuid.uuid4().hex}", template=template)
    running = await start(dsn, tmp_path_factory.mktemp("doors"))
    try:
        await seed(running)
        yield running
    finally:
        await stop(running)


@pytest.fixture(scope="module")
async def ingest(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Service]:
    """Ingest alone, which a test may make suffer: heads must have arrived within two seconds, REST bodies within four."""
    dsn = postgres.create_database(f"doors_{uuid.uuid4().hex}")
    await migrate(Settings(database_url=SecretStr(dsn)), ("log", "ingest"))
    log = tmp_path_factory.mktemp("ingest") / "log"
    service = Service("ingest", dsn, log, RAPPORT_HEAD_SECONDS="2", RAPPORT_BODY_SECONDS="4")
    try:
        await service.ready()
        yield service
    finally:
        service.stop()


@pytest.fixture
def files() -> Iterator[int]:
    """How many files this process may have open, raised to the most that the machine lets it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield hard
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
