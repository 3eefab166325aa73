"""The rows of customers: made before they are locked, saved only as they were read, found by the newest binding."""

import asyncio
import random
import uuid

import pytest

from libs.common.contracts.records import Binding
from libs.common.db.pool import Database
from libs.common.fold.customers import Customers, StaleRow
from tests.integration.fold.toy import Counted, Running
from tests.integration.fold.world import CUSTOMERS, customer_in, did, journal, seen
from tests.support import eventually, keep_open

ONE, TWO = uuid.UUID(CUSTOMERS[0]), uuid.UUID(CUSTOMERS[1])


def customers() -> "Customers[Counted]":
    return Customers("toy", Counted)


async def test_two_who_meet_a_new_customer_both_count(toy: Database) -> None:
    """FOR UPDATE would find no row to lock, and the second would overwrite the first."""

    async def count() -> None:
        async with toy.transaction() as tx:
            mine = customers()
            row = (await mine.load(tx, [ONE, TWO]))[ONE]
            row.state.count += 1
            row.touched = True
            await mine.save(tx, [row])

    await asyncio.gather(*(count() for _ in range(6)))
    async with toy.connection() as tx:
        state = await customers().state(tx, ONE)
    assert state is not None
    assert state.count == 6


async def test_a_row_that_is_not_as_it_was_read_stops_the_batch(toy: Database) -> None:
    async with toy.transaction() as tx:
        rows = (await customers().load(tx, [ONE, TWO])).values()
        for row in rows:
            row.touched = True
        await tx.execute("UPDATE toy.customers SET version = version + 1 WHERE id = $1", TWO)
        with pytest.raises(StaleRow, match="1 of 2 rows"):
            await customers().save(tx, rows)


async def test_a_row_that_is_as_it_was_is_not_written(toy: Database) -> None:
    versions = []
    for count in (1, 1, 1, 2):
        async with toy.transaction() as tx:
            row = (await customers().load(tx, [ONE]))[ONE]
            row.state.count, row.touched = count, True
            await customers().save(tx, [row])
            versions.append(await tx.fetchval("SELECT version FROM toy.customers"))
    assert versions == [1, 1, 1, 2]
    for facts, into in ((1, None), (1, TWO), (1, TWO)):  # either is reason enough
        async with toy.transaction() as tx:
            row = (await customers().load(tx, [ONE]))[ONE]
            row.facts, row.merged_into, row.touched = facts, into, True
            await customers().save(tx, [row])
            versions.append(await tx.fetchval("SELECT version FROM toy.customers"))
    assert versions[4:] == [3, 4, 4]


async def test_what_needs_no_state_waits_for_no_lock_and_makes_no_row(running: Running) -> None:
    """It reaches the projection all the same; who was merged meanwhile is of no matter to it."""
    known, new = customer_in(4), customer_in(4, 1)
    await journal(running.database, did(known, "a"))
    await eventually(lambda: seen(running.database, known, ["a"]))
    async with running.database.connection() as tx:
        await tx.execute("CREATE TABLE toy.looked (who text)")
    look = "INSERT INTO toy.looked VALUES ('{}')"
    async with running.database.transaction() as tx:
        await keep_open(tx)
        await tx.execute("SELECT FROM toy.customers FOR UPDATE")
        await journal(
            running.database, *(did(who, f"look-{who}", idle=True, sql=look.format(who)) for who in (known, new))
        )
        await eventually(running.caught_up)
    await journal(running.database, did(known, "b"), did(known, "c", idle=True), did(known, "d"))
    await eventually(lambda: seen(running.database, known, ["a", "b", "d"]))
    async with running.database.connection() as tx:
        assert {row["who"] for row in await tx.fetch("SELECT who FROM toy.looked")} == {known, new}
        assert [str(row["id"]) for row in await tx.fetch("SELECT id FROM toy.customers")] == [known]


async def test_rows_that_were_made_and_rolled_back_or_have_gone_are_made_again(running: Running) -> None:
    """What is known to be there is known from commits only, and it is no harm when it isn't so."""
    customer = customer_in(4)
    async with running.database.connection() as tx:
        await tx.execute("CREATE SEQUENCE toy.tries")
    failing = "DO $$ BEGIN IF nextval('toy.tries') < 3 THEN RAISE 'not yet' USING ERRCODE = '57014'; END IF; END $$"
    await journal(running.database, did(customer, "a", sql=failing))
    await eventually(lambda: seen(running.database, customer, ["a"]))
    async with running.database.connection() as tx:
        await tx.execute("DELETE FROM toy.customers")
    await journal(running.database, did(customer, "b"))
    await eventually(lambda: seen(running.database, customer, ["b"]))


async def test_the_newest_binding_wins_in_whatever_order_they_come(toy: Database) -> None:
    """A device moved from one to the other and back; the partitions that say so are read by several at once."""
    moves = [(Binding("anon", "device", version), (ONE, TWO)[version % 2]) for version in range(1, 31)]
    random.Random(3).shuffle(moves)  # noqa: S311

    async def bind(part: int) -> None:
        for move in moves[part::3]:
            async with toy.transaction() as tx:
                await customers().bind(tx, [move, (Binding("anon", f"other-{part}", 1), ONE)])

    await asyncio.gather(*(bind(part) for part in range(3)))
    async with toy.connection() as tx:
        assert await customers().resolve(tx, "anon:device") == ONE
        assert await tx.fetchval("SELECT version FROM toy.identifiers WHERE value = 'device'") == 30
