"""Shared resources: exact whoever races for them, locked before customers, and told in the facts."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import msgspec
import pytest

from libs.common.contracts.input import Input, Resource
from libs.common.contracts.records import decode
from libs.common.contracts.rewards import REWARDS
from libs.common.db.pool import Database
from libs.common.fold.commands import Commands
from libs.common.fold.dead_letters import DeadLetters
from libs.common.fold.shared import SharedTable
from libs.common.fold.transactions import Fetch
from tests.integration.fold.toy import POT, Counted, Did, Drawer, Drawn, Running, recorded
from tests.integration.fold.world import NOW, customer_in, dead, did, journal
from tests.support import eventually

EVERYWHERE = [customer_in(partition) for partition in range(8)]


@pytest.fixture
async def drawing(toy: Database) -> AsyncIterator[Running]:
    async with Running(toy, Drawer()) as service:
        yield service


async def pots(database: Database) -> dict[str, int]:
    async with database.connection() as tx:
        return {row[0]: row[1] for row in await tx.fetch("SELECT id, value FROM toy.shared")}


async def drawn(database: Database) -> list[Drawn]:
    async with database.connection() as tx:
        rows = await tx.fetch(f'SELECT value FROM log."{REWARDS}"')
    return [msgspec.json.decode(decode(row["value"]).data, type=Drawn) for row in rows]


def exact(facts: list[Drawn], pot: int = POT) -> None:
    """All of the pot and no more, each from where the one before had left it."""
    assert sum(fact.amount for fact in facts) == pot
    ordered = sorted(facts, key=lambda fact: -fact.left)
    assert [fact.left for fact in ordered] == list(range(pot, 0, -3))


async def test_eight_partitions_that_race_use_it_up_exactly(drawing: Running) -> None:
    """Each in transactions of its own, at once, and none waits in a circle with another."""
    records = [did(customer, f"{n}-{customer}", item="a") for n in range(10) for customer in EVERYWHERE]
    await drawing.fold.stop()
    await journal(drawing.database, *records)

    async def alone(tp: Any) -> None:
        while True:
            async with drawing.database.connection() as tx:
                stored = await drawing.fold.positions.load(tx, tp)
            if not (batch := await drawing.reader.fetch(tp, stored.position, 2, wait=0.1)):
                return
            await drawing.fold.transactions.alone(Fetch(tp, stored.position, batch))

    await asyncio.gather(*(alone(tp) for tp in drawing.fold.tps))
    assert await pots(drawing.database) == {"a": 100}
    exact(await drawn(drawing.database))
    assert await dead(drawing.database) == []


async def test_one_transaction_of_many_partitions_sees_its_own_takes(drawing: Running) -> None:
    await journal(
        drawing.database, *(did(customer, f"{n}-{customer}", item="a") for n in range(10) for customer in EVERYWHERE)
    )
    await eventually(drawing.caught_up)
    assert await pots(drawing.database) == {"a": 100}
    exact(await drawn(drawing.database))


async def test_commands_and_timers_race_with_the_fold(drawing: Running) -> None:
    """Each draws on two pots, named in either order, and on customers of all partitions: they are locked in one order."""
    commands: Commands[Counted, int] = Commands(drawing.fold, drawing.handler)

    async def command(number: int) -> None:
        body = Did(item="b", other="a") if number % 2 else Did(item="a", other="b")
        customer = UUID(EVERYWHERE[number % 8])
        await commands.run(customer, body, key=f"{number}", at=NOW, answer=lambda applied: len(applied.facts))

    async def timer(number: int) -> None:
        async with drawing.database.transaction() as tx:
            bodies = {UUID(customer): Did(item="b", other="a") for customer in EVERYWHERE}
            await commands.run_many(tx, bodies, key=f"timer-{number}", at=NOW)

    async def events() -> None:
        for n in range(10):
            await journal(drawing.database, *(did(each, f"{n}-{each}", item="a", other="b") for each in EVERYWHERE))

    before = await deadlocks(drawing.database)
    await asyncio.gather(events(), *(command(number) for number in range(24)), *(timer(number) for number in range(5)))
    await eventually(drawing.caught_up)
    assert await pots(drawing.database) == {"a": 100, "b": 100}
    facts = await drawn(drawing.database)
    assert sum(fact.amount for fact in facts) == 200
    assert max(Counter(fact.left for fact in facts).values()) == 2
    assert await deadlocks(drawing.database) == before
    assert await dead(drawing.database) == []


async def test_a_command_that_fails_takes_nothing(drawing: Running) -> None:
    commands: Commands[Counted, int] = Commands(drawing.fold, drawing.handler)
    with pytest.raises(ValueError, match="no"):
        await commands.run(
            UUID(EVERYWHERE[0]), Did(item="a", fail="no"), key="1", at=NOW, answer=lambda applied: len(applied.facts)
        )
    assert (await pots(drawing.database)).get("a", 0) == 0
    for _ in range(2):  # the same request again takes nothing more
        await commands.run(
            UUID(EVERYWHERE[0]), Did(item="a"), key="2", at=NOW, answer=lambda applied: len(applied.facts)
        )
    assert await pots(drawing.database) == {"a": 3}


async def test_a_dead_letter_draws_when_it_is_replayed(drawing: Running) -> None:
    one, other = EVERYWHERE[:2]
    await journal(drawing.database, did(one, "bad", item="a", fail="no"), did(other, "good", item="a"))
    await eventually(drawing.caught_up)
    assert await pots(drawing.database) == {"a": 3}
    (letter,) = await DeadLetters(drawing.fold).waiting()
    await DeadLetters(drawing.fold).replay(letter, "anna", mended={"event": "Did", "item": "a"})
    assert await pots(drawing.database) == {"a": 6}
    async with drawing.database.connection() as tx:
        stamp = await tx.fetchval("SELECT stamp FROM toy.dead_letters")
    assert stamp.endswith("/0")  # before the fact that it led to


async def test_the_view_of_a_replay_is_made_from_the_facts(toy: Database) -> None:
    """Decided again with what was recorded, each input says what it had said, without a look at the rows."""
    decider = Drawer()
    for taken in (0, 97, 98, 99, 100):
        pot = Resource("pot", "a")
        input = Input("1", "track.v1", "/apps/shop", NOW, NOW, 0, False, None, Did(item="a"), 0, {pot: taken})
        decision = decider.decide(Counted(), input, 0)
        view = recorded(input, 0, decision.facts)
        assert decider.decide(Counted(), msgspec.structs.replace(input, shared=view), 0).facts == decision.facts


async def test_rows_that_were_rolled_back_are_made_again(toy: Database) -> None:
    table: SharedTable[int] = SharedTable("toy")
    pot = Resource("pot", "a", "2026-01")

    async def rolled_back() -> None:
        async with toy.transaction() as tx:
            await table.lock(tx, [pot])
            raise RuntimeError

    for _ in range(2):
        with pytest.raises(RuntimeError):
            await rolled_back()
    async with toy.transaction() as tx:
        shared = await table.lock(tx, [pot])
        shared.take({pot: 7})
        await table.save(tx, shared)
    table.known(shared)
    async with toy.transaction() as tx:
        assert (await table.lock(tx, [pot, pot])).view([pot]) == {pot: 7}


async def deadlocks(database: Database) -> int:
    async with database.connection() as tx:
        await tx.execute("SELECT pg_stat_force_next_flush()")
        return int(await tx.fetchval("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"))
