"""How tables are stored: what a migration says of it, the models say too, where they can."""

import importlib

import pytest

from libs.common.contracts.registry import SERVICES
from libs.common.db.pool import Database


@pytest.mark.parametrize("service", ["profile", "rewards", "metrics"])
async def test_states_with_a_long_history_are_not_compressed(database: Database, service: str) -> None:
    storage = await database.pool.fetchval(
        "SELECT attstorage FROM pg_attribute WHERE attrelid = $1::text::regclass AND attname = 'state'",
        f"{service}.customers",
    )
    assert storage == b"e"


@pytest.mark.parametrize("service", SERVICES)
async def test_rows_that_are_written_again_and_again_have_room(database: Database, service: str) -> None:
    tables = importlib.import_module(f"services.{service}.models").metadata.tables.values()
    wanted = {table.name: table.dialect_options["postgresql"]["with"] for table in tables}
    found = {
        row["relname"]: dict(option.split("=") for option in row["reloptions"])
        for row in await database.pool.fetch(
            "SELECT relname, reloptions FROM pg_class WHERE relnamespace = $1::text::regnamespace AND relkind = 'r'"
            " AND EXISTS (SELECT FROM unnest(reloptions) o WHERE o LIKE 'fillfactor%')",
            service,
        )
    }
    assert found == {name: {key: str(value) for key, value in said.items()} for name, said in wanted.items() if said}
