"""Partitions among processes: all of them read, each by one, whoever comes, goes, or loses its session."""

import asyncio
import random
from collections.abc import Sequence

import pytest

from libs.common.db.pool import Database
from libs.common.log.ownership import IDLE_SESSION_MS, Ownership
from libs.common.log.reader import TopicPartition
from tests.integration.fold.conftest import Start
from tests.integration.fold.toy import Running
from tests.integration.fold.world import CUSTOMERS, customer_in, dead, did, facts, journal, seen, states
from tests.support import eventually


async def shared(folds: Sequence[Running], sizes: Sequence[int]) -> bool:
    owned = [fold.fold.ownership.owned for fold in folds]
    reading = [set(fold.fold.assignment.tasks) for fold in folds]
    return (
        sorted(map(len, owned)) == sorted(sizes) and set().union(*owned) == set(folds[0].fold.tps) and owned == reading
    )


async def test_who_comes_gets_a_share_and_who_goes_leaves_it(toy: Database) -> None:
    """Under load all the time, one of them by a crash: nothing is missed, nothing counted twice."""
    said = 0

    async def say() -> None:
        nonlocal said
        while True:
            await journal(toy, *(did(customer, f"{said}-{customer}") for customer in CUSTOMERS))
            said += 1
            await asyncio.sleep(0.005)  # the toy writes all that it has seen each time

    async with Running(toy) as one:
        talking = asyncio.create_task(say())
        async with Running(toy) as two:
            await eventually(lambda: shared([one, two], [4, 4]))
            async with Running(toy) as three:
                await eventually(lambda: shared([one, two, three], [2, 3, 3]))
                await _terminate(toy, "rapport-toy/fold")
                await eventually(lambda: shared([one, two, three], [2, 3, 3]))
            await eventually(lambda: shared([one, two], [4, 4]))
            two.fold.ownership.forget()  # as if it had been killed: its locks are gone while its batches still run
            await eventually(lambda: shared([one, two], [4, 4]))
        await eventually(lambda: shared([one], [8]))
        talking.cancel()
        await asyncio.gather(talking, return_exceptions=True)
        await eventually(one.caught_up)
    for customer, state in (await states(toy)).items():
        assert state.seen[:said] == [f"{batch}-{customer}" for batch in range(said)]
    made = await facts(toy)
    assert len(made) == len(set(made))
    assert await dead(toy) == []


async def _terminate(database: Database, name: str) -> None:
    async with database.connection() as tx:
        await tx.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND application_name = $1",
            name,
        )


async def test_each_topic_is_shared_by_itself(database: Database) -> None:
    """Else one process would read all events and the other all facts."""
    tps = [TopicPartition(topic, partition) for topic in ("a", "b", "c") for partition in range(8)]
    one, two = (Ownership(database, "suite/topics", tps) for _ in range(2))
    await one.balance()
    await two.balance()
    await one.balance()
    for tp in one.surplus:
        await one.give_back(tp)
    assert await two.balance() | one.owned == set(tps)
    for ownership in (one, two):
        assert sorted(tp.topic for tp in ownership.owned) == ["a"] * 4 + ["b"] * 4 + ["c"] * 4
        await ownership.close()


async def test_a_partition_that_cannot_be_given_back_is_not_kept_by_an_unknown_lock(database: Database) -> None:
    """The unlocking times out, though the session lives on: its locks must go, or nobody could ever take them."""
    tps = [TopicPartition("a", partition) for partition in range(4)]
    one, two = (Ownership(database, "suite/stuck", tps) for _ in range(2))
    await one.balance()
    giving = asyncio.create_task(one.give_back(tps[0]))
    await asyncio.sleep(0)  # the statement is on its way
    giving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await giving
    assert one.owned == set()

    async def all_taken() -> bool:
        return await two.balance() == set(tps)

    await eventually(all_taken)
    await two.close()


async def test_a_batch_may_take_longer_than_a_session_may_idle(toy: Database) -> None:
    """The session that holds the partitions is kept awake beside it: nobody takes them."""
    slow = customer_in(0)
    async with Running(toy) as one, Running(toy) as two:
        await eventually(lambda: shared([one, two], [4, 4]))
        sessions = await _holders(toy)
        await journal(toy, did(slow, "slow", sql=f"SELECT pg_sleep({IDLE_SESSION_MS / 1000 + 0.3})"))
        await eventually(lambda: seen(toy, slow, ["slow"]))
        assert await shared([one, two], [4, 4])
        assert await _holders(toy) == sessions


async def _holders(database: Database) -> set[int]:
    """The sessions that hold partitions."""
    rows = await database.pool.fetch(
        "SELECT DISTINCT pid FROM pg_locks WHERE locktype = 'advisory' AND granted"
        " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    )
    return {row["pid"] for row in rows}


async def test_stopping_finishes_the_batch_begun(toy: Database) -> None:
    """And begins no other: what is left is for the next to read, from there on."""
    service = await Running(toy).__aenter__()
    slow = customer_in(0)
    await journal(toy, did(slow, "begun", sql="SELECT pg_sleep(3)"))
    await eventually(lambda: _is_folding(service))
    await journal(toy, did(slow, "left"))
    await service.__aexit__()
    assert await seen(toy, slow, ["begun"])
    async with Running(toy):
        await eventually(lambda: seen(toy, slow, ["begun", "left"]))


async def _is_folding(service: Running) -> bool:
    return bool(service.fold.assignment.busy)


async def test_processes_killed_at_random_under_load(toy: Database, child: Start) -> None:
    """Two at work all the time, one after the other dies: every record is applied once, in order, every fact is there once."""
    chance = random.Random(11)  # noqa: S311
    living = [await child(), await child()]
    said = 0
    for _ in range(4):
        for _ in range(chance.randrange(3, 9)):
            await journal(toy, *(did(customer, f"{said}-{customer}") for customer in CUSTOMERS))
            said += 1
        victim = living.pop(0)
        victim.kill()
        await victim.wait()
        living.append(await child())
    async with Running(toy) as service:
        await eventually(service.caught_up)
    for customer, state in (await states(toy)).items():
        assert state.seen == [f"{batch}-{customer}" for batch in range(said)]
    made = await facts(toy)
    assert len(made) == len(set(made)) == said // 3 * len(CUSTOMERS)
    assert await dead(toy) == []
