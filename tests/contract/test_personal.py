"""What names a customer is exported and erased: no table is forgotten."""

from zoneinfo import ZoneInfo

import pytest
from pydantic import SecretStr

from libs.common.fold.personal import Personal
from services.metrics import models as metrics
from services.metrics.personal import personal as of_metrics
from services.profile import models as profile
from services.rewards import models as rewards
from services.rewards.personal import personal as of_rewards
from services.triggers import models as triggers
from services.triggers.decider import TriggersHandler
from services.triggers.settings import Settings as TriggersSettings

UTC = ZoneInfo("UTC")
PERSONAL = {
    "profile": (profile.metadata, Personal(profile.PERSONAL)),
    "rewards": (rewards.metadata, of_rewards(8, UTC)),
    "triggers": (
        triggers.metadata,
        TriggersHandler(TriggersSettings(database_url=SecretStr("postgresql://nowhere"))).personal,
    ),
    "metrics": (metrics.metadata, of_metrics(8)),
}
#: The fold's own, which every erasure deletes; erasures themselves; and tickets, which end after a minute.
OTHERS = {"identifiers", "commands", "erasures", "tickets"}


@pytest.mark.parametrize("service", PERSONAL)
def test_every_table_of_customers_is_exported_and_erased(service: str) -> None:
    metadata, personal = PERSONAL[service]
    of_customers = {table.name for table in metadata.tables.values() if "customer" in table.c}
    assert of_customers - OTHERS == set(personal.tables)


@pytest.mark.parametrize("service", PERSONAL)
def test_a_service_with_sums_over_customers_keeps_the_share_of_who_is_erased(service: str) -> None:
    metadata, personal = PERSONAL[service]
    sums = {
        table.name
        for table in metadata.tables.values()
        if "partition" in table.primary_key.columns and {"day", "first"} & set(table.primary_key.columns.keys())
    }
    assert (personal.keep is not None) == bool(sums - {"counters"})
