"""What the models cannot say of their tables."""

import pytest

from libs.common.db import Database


@pytest.mark.parametrize("service", ["profile", "rewards", "metrics"])
async def test_states_with_a_long_history_are_not_compressed(database: Database, service: str) -> None:
    storage = await database.pool.fetchval(
        "SELECT attstorage FROM pg_attribute WHERE attrelid = $1::text::regclass AND attname = 'state'",
        f"{service}.customers",
    )
    assert storage == b"e"
