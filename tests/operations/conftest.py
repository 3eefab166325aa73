"""One platform as an operator runs it: separate processes, real PostgreSQL, a collector of traces beside it."""

import shutil
from collections.abc import AsyncIterator, Iterator

import pytest

from deploy.demo.api import Api
from deploy.local.platform import Platform
from deploy.local.ports import free_base
from tests.conftest import new_home
from tests.integration.triggers.receiver import Receiver
from tests.operations.collector import Collector


@pytest.fixture(scope="package")
def collector() -> Iterator[Collector]:
    with Collector() as listening:
        yield listening


@pytest.fixture(scope="package")
def receiver() -> Iterator[Receiver]:
    with Receiver(200) as listening:
        yield listening


@pytest.fixture(scope="package")
async def platform(collector: Collector) -> AsyncIterator[Platform]:
    home = new_home("rapport-operations-")
    env = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
        "OTEL_BSP_SCHEDULE_DELAY": "100",
        "RAPPORT_TRIGGERS_WEBHOOK_ALLOW": "127.0.0.1/32",
    }
    async with Platform(home=home, port_base=free_base(), fsync=False, env=env) as running:
        yield running
    shutil.rmtree(home, ignore_errors=True)


@pytest.fixture(scope="package")
async def api(platform: Platform) -> AsyncIterator[Api]:
    async with Api(platform) as client:
        yield client
