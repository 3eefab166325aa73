"""The metrics service of a test, or of a whole module."""

from collections.abc import AsyncIterator

import pytest
from pydantic import SecretStr

from libs.common.settings import Settings
from services.metrics.settings import Settings as MetricsSettings
from tests.conftest import KEYS, FreshDatabases
from tests.integration.metrics.service import Metrics, serving


@pytest.fixture
def metrics_settings(settings: Settings) -> MetricsSettings:
    return MetricsSettings(**settings.model_dump())


@pytest.fixture
async def metrics(metrics_settings: MetricsSettings) -> AsyncIterator[Metrics]:
    async with serving(metrics_settings) as service:
        yield service


@pytest.fixture(scope="module")
async def shared_metrics(fresh_databases: FreshDatabases) -> AsyncIterator[Metrics]:
    """The same, for all tests of a module."""
    dsn = fresh_databases.take()
    settings = MetricsSettings(database_url=SecretStr(dsn), jwt_public_key=KEYS[1], pool_size=8)
    async with serving(settings) as service:
        yield service
    fresh_databases.give_back(dsn)
