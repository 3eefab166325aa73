"""Several writes in one round trip are what they would be one after the other."""

import asyncpg
import pytest

from libs.common.db.pipeline import Pipeline
from libs.common.db.pool import Database


@pytest.fixture
async def tables(database: Database) -> Database:
    async with database.connection() as tx:
        await tx.execute("CREATE TABLE a (id int PRIMARY KEY, n int); CREATE TABLE b (id int PRIMARY KEY, n int)")
    return database


async def rows(database: Database, table: str) -> list[tuple[int, int]]:
    async with database.connection() as tx:
        return [tuple(row) for row in await tx.fetch(f"SELECT id, n FROM {table} ORDER BY id")]


async def test_writes_are_sent_in_their_order(tables: Database) -> None:
    async with tables.transaction() as tx:
        pipeline = Pipeline(tx)
        await pipeline.execute("INSERT INTO a SELECT * FROM unnest($1::int[], $2::int[])", [1, 2, 3], [10, 20, 30])
        await pipeline.execute("INSERT INTO b VALUES ($2, $1)", 5, 1)
        await pipeline.execute("UPDATE a SET n = n + $1 WHERE id = $2", 1, 2)  # sees what was inserted
        await pipeline.execute("DELETE FROM b WHERE id = $1", 1)
        assert await pipeline.fetchval("SELECT count(*) FROM b") == 0
        await pipeline.execute("DELETE FROM a WHERE id = $1", 3)
        await pipeline.execute("INSERT INTO b VALUES ($1, $2) ON CONFLICT (id) DO UPDATE SET n = excluded.n", 9, 90)
        await pipeline.flush()
    assert await rows(tables, "a") == [(1, 10), (2, 21)]
    assert await rows(tables, "b") == [(9, 90)]


async def test_what_cannot_travel_with_others_is_sent_at_once(tables: Database) -> None:
    async with tables.transaction() as tx:
        pipeline = Pipeline(tx)
        await pipeline.execute("INSERT INTO a VALUES (1, 1)")
        moved = "WITH gone AS (DELETE FROM a WHERE id = $1 RETURNING *) INSERT INTO b SELECT * FROM gone"
        await pipeline.execute(moved, 1)
        assert [tuple(row) for row in await pipeline.fetch("SELECT id, n FROM b")] == [(1, 1)]


async def test_an_error_of_one_is_the_error_of_all(tables: Database) -> None:
    async with tables.connection() as tx:
        pipeline = Pipeline(tx)
        await pipeline.execute("INSERT INTO a VALUES (1, 1)")
        await pipeline.execute("INSERT INTO b SELECT 1, n FROM generate_series(1, 2) n")
        with pytest.raises(asyncpg.UniqueViolationError):
            await pipeline.flush()
    assert await rows(tables, "a") == []


async def test_what_goes_ahead_travels_with_the_first_rows(tables: Database) -> None:
    async with tables.transaction() as tx:
        await tx.execute("INSERT INTO a VALUES (1, 10), (2, 20)")
        pipeline = Pipeline(tx)
        fence = "UPDATE a SET n = n + $2 WHERE id = $1 RETURNING n"
        sent = pipeline.ahead(fence, 2, 5, select=("count(*)", "max(n)"))
        assert sent.answer is None
        made = "made AS (INSERT INTO b SELECT id, $2 FROM unnest($1::int[]) id RETURNING id, n)"
        found = await pipeline.rows(
            "SELECT id, n FROM made UNION ALL SELECT id, n FROM a ORDER BY id", [7], 70, ctes=made
        )
        assert [tuple(row) for row in found] == [(1, 10), (2, 20), (7, 70)]  # of the moment before
        assert sent.answer == (1, 25)
        assert not await pipeline.rows("SELECT id, n FROM a WHERE id = $1", 99)
    assert sent.answer == (1, 25)
    assert await rows(tables, "a") == [(1, 10), (2, 25)]
    assert await rows(tables, "b") == [(7, 70)]


@pytest.mark.parametrize("way", ["rows", "no rows", "writes", "nothing else"])
async def test_the_answer_of_what_went_ahead_is_there_after_the_first_statement(tables: Database, way: str) -> None:
    async with tables.connection() as tx:
        pipeline = Pipeline(tx)
        ahead = pipeline.ahead("DELETE FROM a WHERE id = $1 RETURNING id", 1, select=("count(*)",))
        with pytest.raises(RuntimeError):
            pipeline.ahead("DELETE FROM a RETURNING id", select=("count(*)",))
        if way == "writes":
            await pipeline.write("INSERT INTO b SELECT 1, $1 WHERE $1 > 1", 1, rows=0, otherwise=RuntimeError)
        sent = {"rows": pipeline.rows("SELECT 1 AS one"), "no rows": pipeline.rows("SELECT id FROM a")}
        await (sent[way] if way in sent else pipeline.flush())
        assert ahead.answer == (0,)
        for other in sent.values():
            other.close()
    assert await rows(tables, "b") == []
