"""The profile service of a test."""

from collections.abc import AsyncIterator

import pytest

from libs.common.settings import Settings
from services.profile.settings import Settings as ProfileSettings
from tests.integration.profile.service import Profile, serving


@pytest.fixture
def profile_settings(settings: Settings) -> ProfileSettings:
    return ProfileSettings(**settings.model_dump())


@pytest.fixture
async def profile(profile_settings: ProfileSettings) -> AsyncIterator[Profile]:
    async with serving(profile_settings) as service:
        yield service
