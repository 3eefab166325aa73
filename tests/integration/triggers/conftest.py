"""The triggers service of a test."""

from collections.abc import AsyncIterator
from ipaddress import ip_network

import pytest

from libs.common.settings import Settings
from services.triggers.settings import Settings as TriggersSettings
from tests.integration.triggers.service import ANN, BEN, Triggers, known_as, order, serving


@pytest.fixture
def triggers_settings(settings: Settings) -> TriggersSettings:
    return TriggersSettings(**settings.model_dump(), webhook_allow=(ip_network("127.0.0.0/8"),), webhook_seconds=5)


@pytest.fixture
async def triggers(triggers_settings: TriggersSettings) -> AsyncIterator[Triggers]:
    async with serving(triggers_settings) as service:
        yield service


@pytest.fixture
async def shop(triggers: Triggers) -> Triggers:
    """Ann and Ben are known, each with one message; a hook thanks for each order."""
    await triggers.hook(
        action={"channel": "inbox", "text": "{{ event.properties.order_id }}"}, trigger={"event": "Order Completed"}
    )
    await triggers.journal(
        order(ANN, "first", snapshot=known_as(ANN, "ann")), order(BEN, "other", snapshot=known_as(BEN, "ben"))
    )
    return triggers
