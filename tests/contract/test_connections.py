"""PostgreSQL's limit allows what all services may open, and as much again for a second process of the busiest."""

import re

import pytest

from deploy.local.postgres import SETTINGS
from deploy.local.service import ROOT
from libs.common.contracts.registry import SERVICES
from libs.common.db.pool import Database
from libs.common.fold.service import CONNECTIONS as FOLDING
from services import connections
from services.rewards.app import create
from services.rewards.settings import Settings

#: PostgreSQL keeps so many for superusers.
RESERVED = 3


@pytest.mark.parametrize("log", ["postgres", "kafka"])
def test_all_services_fit(log: str) -> None:
    services = {name: connections.service_settings(name).model_copy(update={"log": log}) for name in SERVICES}
    most = {name: connections.at_most(name, settings) for name, settings in services.items()}
    compose = re.search(r"max_connections=(\d+)", (ROOT / "docker-compose.yml").read_text())
    assert compose
    for limit in (int(SETTINGS["max_connections"]), int(compose[1])):
        assert sum(most.values()) + max(most.values()) <= limit - RESERVED
    assert connections.summary(services).startswith(f"PostgreSQL connections: at most {sum(most.values())} (ingest ")


async def test_a_service_opens_no_more_than_it_says(database: Database) -> None:
    settings = Settings(database_url=database.settings.database_url, pool_size=3)
    app = create(settings)
    async with app.router.lifespan_context(app), database.pool.acquire() as connection:
        part = app.state.lifecycle.components[0]
        while not app.state.lifecycle.ready:
            await connection.execute("SELECT pg_sleep(0.01)")
        held = [await part.database.pool.acquire() for _ in range(settings.pool_size)]
        folding = [await part.fold.database.pool.acquire() for _ in range(FOLDING)]
        found = await connection.fetchval(
            "SELECT count(*) FROM pg_stat_activity"
            " WHERE datname = current_database() AND application_name <> 'rapport-test'"
        )
        for one in held:
            await part.database.pool.release(one)
        for one in folding:
            await part.fold.database.pool.release(one)
    assert found == connections.at_most("rewards", settings)
