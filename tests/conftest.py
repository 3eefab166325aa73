"""One real PostgreSQL (and one real Kafka) a session; a fresh database and topic prefix a test."""

import shutil
import tempfile
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from deploy.local.postgres import Postgres
from libs.common.auth import generate_keys
from libs.common.db import Database
from libs.common.migrate import SERVICES, migrate, scripts
from libs.common.settings import Settings

KEYS = generate_keys()


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """PostgreSQL from the wheel, in a folder of its own."""
    home = Path(tempfile.mkdtemp(prefix="rapport-tests-"))
    server = Postgres(home, fsync=False)
    server.start()
    yield server
    server.stop()
    shutil.rmtree(home, ignore_errors=True)


@pytest.fixture(scope="session")
async def template(postgres: Postgres) -> str:
    """A migrated database that each test's own is copied from."""
    name = "template_rapport"
    postgres.create_database(name)
    histories = ("log", *(service for service in SERVICES if scripts(service).exists()))
    await migrate(Settings(database_url=SecretStr(postgres.dsn(name))), histories)
    return name


@pytest.fixture
def settings(postgres: Postgres, template: str) -> Settings:
    """Settings of a fresh database, migrated, with the log in PostgreSQL."""
    name = f"test_{uuid.uuid4().hex}"
    postgres.create_database(name, template=template)
    return Settings(database_url=SecretStr(postgres.dsn(name)), jwt_public_key=KEYS[1], pool_size=8)


@pytest.fixture
async def database(settings: Settings) -> AsyncIterator[Database]:
    """The fresh database, connected."""
    connected = await Database.connect(settings, "test")
    yield connected
    await connected.close()
