"""Commands: once for a key, whoever sends it how often; on whom the customer has become; stamped where they happened."""

import asyncio
import uuid
from typing import Any

import msgspec
import pytest

from libs.common.contracts.rewards import REWARDS
from libs.common.db.pool import Database
from libs.common.errors import Conflict
from libs.common.fold.commands import Commands
from libs.common.fold.decider import Applied
from tests.integration.fold.toy import Counted, Did, Running
from tests.integration.fold.world import NOW, customer_in, did, facts, journal, left, merged, seen, states
from tests.support import eventually

ONE, OTHER, THIRD = (customer_in(partition) for partition in (5, 1, 3))


async def command(service: Running, customer: str, key: str, event: str = "Given") -> Any:
    commands = Commands(service.fold, service.handler)
    return await commands.run(uuid.UUID(customer), Did(event), key=key, at=NOW, answer=_count)


def _count(applied: Applied[Counted]) -> dict[str, Any]:
    return {"customer": str(applied.customer), "count": applied.state.count}


async def test_a_key_counts_once_however_often_it_is_sent_at_once(running: Running, toy: Database) -> None:
    """To two processes, each many times; with another body or for another customer it is refused."""
    async with Running(toy) as second:
        sent = (command(service, ONE, "k") for service in (running, second) for _ in range(10))
        answers = await asyncio.gather(*sent)
        assert answers == [{"customer": ONE, "count": 1}] * 20
        with pytest.raises(Conflict, match="another request"):
            await command(second, ONE, "k", "Taken")
        raced = await asyncio.gather(
            *(command(running, customer, "race") for customer in (ONE, OTHER, THIRD)), return_exceptions=True
        )
    assert sum(isinstance(answer, Conflict) for answer in raced) == 2
    assert sum(state.count for state in (await states(toy)).values()) == 2


async def test_commands_race_with_merges_and_records(running: Running, toy: Database) -> None:
    """Ten customers go into one, then that one into another, while commands are given to all of them all the time."""
    crowd = [customer_in(partition, 1) for partition in range(8)] + [OTHER, THIRD]
    async with Running(toy) as second:

        async def give(service: Running, customer: str) -> None:
            for n in range(12):
                await command(service, customer, f"{customer}-{n}")

        giving = [asyncio.create_task(give(service, customer)) for service in (running, second) for customer in crowd]
        for customer in crowd[:-1]:
            await journal(toy, did(customer, f"r-{customer}"), left(customer, crowd[-1]))
            await journal(toy, merged(crowd[-1], customer))
        await journal(toy, left(crowd[-1], ONE), merged(ONE, crowd[-1]))
        await asyncio.gather(*giving)
        await eventually(running.caught_up)
        assert await command(running, crowd[0], f"{crowd[0]}-0") is not None  # the same key still finds its answer
    after = await states(toy)
    expected = 12 * len(crowd) + len(crowd) - 1
    assert {customer: state.count for customer, state in after.items() if state.count} == {ONE: expected}
    assert len(set(after[ONE].seen)) == expected
    made = await facts(toy)
    assert len(made) == len(set(made))


async def test_a_commands_stamp_is_where_its_customers_partition_stands(running: Running, toy: Database) -> None:
    await journal(toy, did(ONE, "a"), did(ONE, "b"))
    await eventually(lambda: seen(toy, ONE, ["a", "b"]))
    await command(running, ONE, "k")
    async with toy.connection() as tx:
        value = await tx.fetchval(f'SELECT value FROM log."{REWARDS}"')
    assert msgspec.json.decode(value)["stamp"] == "5/2/0/1"
