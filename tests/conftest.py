"""One real PostgreSQL (and one real Kafka) a worker process; a fresh database and topic prefix a test."""

import asyncio
import os
import shutil
import socket
import tempfile
import uuid
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import hypothesis
import pytest
from pydantic import SecretStr

from deploy.local import ports
from deploy.local.kafka import Kafka
from deploy.local.ports import free_base
from deploy.local.postgres import Postgres
from libs.common.contracts.registry import SERVICES
from libs.common.db.migrate import migrate
from libs.common.db.pool import Database
from libs.common.db.schema import scripts
from libs.common.http.auth.keyring import generate_keys
from libs.common.settings import Settings

#: The folders of tests, those with the longest files first: workers take whole files in this order, so that none is left
#: with a long one at the end.
SLOWEST_FIRST = ("e2e", "operations", "faults", "integration", "doors", "contract", "unit")
MEMORY = Path("/dev/shm")  # noqa: S108 - the folders made in it are private
ROOM = 4 * 1024**3
KEYS = generate_keys()
CUSTOMER_KEYS = generate_keys()
INSTALLATION_KEY = generate_keys()[0]

# How many examples each property is tried on. None has a deadline: a loaded machine may take its time.
SLOW = [hypothesis.HealthCheck.too_slow]
hypothesis.settings.register_profile("quick", max_examples=100, deadline=None, suppress_health_check=SLOW)
hypothesis.settings.register_profile("thorough", max_examples=2000, deadline=None, suppress_health_check=SLOW)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))
WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
ports.BASES = range(10_000 + 4_000 * WORKER, 14_000 + 4_000 * WORKER)  # no worker takes a port that another looked at


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put slow folders first. Within a folder the order stays as collected."""
    items.sort(key=lambda item: SLOWEST_FIRST.index(folder_of(item)))


def folder_of(item: pytest.Item) -> str:
    """The folder below `tests` that a test is in."""
    return item.path.relative_to(Path(__file__).parent).parts[0]


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """PostgreSQL from the wheel, in a folder of its own. Its cache is small: it is written out when it stops."""
    home = new_home("rapport-tests-")
    server = Postgres(home, fsync=False, settings={"shared_buffers": "256MB"})
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


class FreshDatabases:
    """Migrated databases, one for each test. The next one is made while a test works on the last."""

    def __init__(self, postgres: Postgres, template: str, worker: ThreadPoolExecutor) -> None:
        self._postgres = postgres
        self._template = template
        self._worker = worker
        self._ahead: Future[str] | None = None

    def take(self) -> str:
        """The DSN of one that nothing else uses."""
        made = self._ahead or self._worker.submit(self._make)
        self._ahead = self._worker.submit(self._make)
        return self._make() if made.exception() else made.result()  # a test may have cut its connection

    def give_back(self, dsn: str) -> None:
        """Drop it, beside the tests that follow. One that a test made unreachable goes with the server."""
        self._worker.submit(self._drop, dsn)

    def _make(self) -> str:
        return self._postgres.create_database(f"test_{uuid.uuid4().hex}", template=self._template)

    def _drop(self, dsn: str) -> None:
        async def drop() -> None:
            connection = await asyncpg.connect(self._postgres.dsn("postgres"), timeout=30)
            try:
                await connection.execute(f'DROP DATABASE "{urlsplit(dsn).path[1:]}" WITH (FORCE)')
            finally:
                await connection.close()

        asyncio.run(drop())


@pytest.fixture(scope="session")
def fresh_databases(postgres: Postgres, template: str) -> Iterator[FreshDatabases]:
    with ThreadPoolExecutor(1) as worker:
        yield FreshDatabases(postgres, template, worker)


@pytest.fixture
def settings(fresh_databases: FreshDatabases) -> Iterator[Settings]:
    """Settings of a fresh database, migrated, with the log in PostgreSQL."""
    dsn = fresh_databases.take()
    yield Settings(
        database_url=SecretStr(dsn),
        jwt_public_key=KEYS[1],
        customer_public_key=CUSTOMER_KEYS[1],
        installation_key=SecretStr(INSTALLATION_KEY),
        pool_size=8,
    )
    fresh_databases.give_back(dsn)


@pytest.fixture
async def database(settings: Settings) -> AsyncIterator[Database]:
    """The fresh database, connected."""
    connected = await Database.connect(settings, "test")
    yield connected
    await connected.close()


@pytest.fixture(scope="session")
def own_kafka() -> Iterator[Kafka]:
    """Apache Kafka from pip's Java and the jars: a broker that a test may kill, if it brings it back."""
    home = new_home("rapport-tests-")
    base = free_base()  # where no outgoing connection can take the port while the broker is away
    broker = Kafka(home, base, base + 1)
    broker.start()
    yield broker
    broker.kill()  # nothing of it is kept: a controlled shutdown of all tests' topics takes long
    broker.stop()
    shutil.rmtree(home, ignore_errors=True)


@pytest.fixture(scope="session")
def kafka_bootstrap(request: pytest.FixtureRequest) -> Iterator[str]:
    """`host:port` of Apache Kafka: in a container where a Docker engine answers, else from the jars."""
    if not docker_answers():
        broker: Kafka = request.getfixturevalue("own_kafka")
        yield broker.bootstrap
        return
    from testcontainers.community.kafka import KafkaContainer

    with KafkaContainer("confluentinc/cp-kafka:7.9.0").with_kraft() as container:
        yield container.get_bootstrap_server()


@pytest.fixture
def kafka_settings(settings: Settings, kafka_bootstrap: str) -> Settings:
    """Settings of a fresh database, with the log read from Kafka under a topic prefix of its own."""
    prefix = f"{uuid.uuid4().hex}."
    return settings.model_copy(update={"log": "kafka", "kafka_bootstrap": kafka_bootstrap, "topic_prefix": prefix})


def new_home(prefix: str) -> Path:
    """A new folder for a server's data: in memory where the system has room for it, as making a database on a disk takes
    longer than most tests. Who asks for it removes it."""
    roomy = MEMORY.is_dir() and os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free >= ROOM
    return Path(tempfile.mkdtemp(prefix=prefix, dir=MEMORY if roomy else None))


def free_port() -> int:
    """A port that is free now, and that no outgoing connection takes before it is used."""
    return free_base()


def docker_answers() -> bool:
    """Whether a Docker engine listens where its clients look for it."""
    address = urlsplit(os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock"))
    try:
        if address.scheme == "unix":
            with socket.socket(socket.AF_UNIX) as probe:
                probe.connect(address.path)
        else:
            socket.create_connection((address.hostname, address.port or 2375), timeout=1).close()
    except OSError:
        return False
    return True
