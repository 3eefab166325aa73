"""The rewards service of a test."""

from collections.abc import AsyncIterator

import pytest

from libs.common.settings import Settings
from services.rewards.settings import Settings as RewardsSettings
from tests.integration.rewards.service import Rewards, serving


@pytest.fixture
def rewards_settings(settings: Settings) -> RewardsSettings:
    return RewardsSettings(**settings.model_dump())


@pytest.fixture
async def rewards(rewards_settings: RewardsSettings) -> AsyncIterator[Rewards]:
    async with serving(rewards_settings) as service:
        yield service
