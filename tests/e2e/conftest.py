"""One whole platform for all end-to-end tests: separate processes, real PostgreSQL, the public API only."""

import shutil
from collections.abc import AsyncIterator

import pytest

from deploy.demo.api import Api
from deploy.local.platform import Platform
from deploy.local.ports import free_base
from tests.conftest import new_home


@pytest.fixture(scope="package")
async def platform() -> AsyncIterator[Platform]:
    home = new_home("rapport-e2e-")
    async with Platform(home=home, port_base=free_base(), fsync=False) as running:
        yield running
    shutil.rmtree(home, ignore_errors=True)


@pytest.fixture(scope="package")
async def api(platform: Platform) -> AsyncIterator[Api]:
    async with Api(platform) as client:
        yield client
