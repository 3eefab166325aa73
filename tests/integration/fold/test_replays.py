"""Dead letters replayed: on whom their customer has become, stamped where it happens, and never given up for an outage."""

import asyncio
import uuid

import msgspec
import pytest

from libs.common.contracts.rewards import REWARDS
from libs.common.db.pool import Database, Tx
from libs.common.errors import Conflict, Invalid, Unavailable
from libs.common.fold.dead_letters import DeadLetters
from libs.common.log.append import Outgoing
from tests.integration.fold.toy import Running, Toy
from tests.integration.fold.world import NOW, customer_in, did, facts, journal, left, merged, seen, states
from tests.support import eventually

STAYS, GONE, LAST = (customer_in(partition) for partition in (6, 1, 2))
MENDED = {"event": "Did"}


async def letter(service: Running) -> uuid.UUID:
    """The one dead letter that waits."""
    await eventually(service.caught_up)
    (id,) = await DeadLetters(service.fold).waiting()
    return id


async def test_a_customer_who_was_merged_since_has_their_record_with_the_survivor(running: Running) -> None:
    """Over two merges, into other partitions; the fact is stamped there, at the present position."""
    await journal(running.database, did(GONE, "x", fail="no"), did(GONE, "g"), left(GONE, STAYS), merged(STAYS, GONE))
    await journal(running.database, left(STAYS, LAST), merged(LAST, STAYS), did(LAST, "l"))
    id = await letter(running)
    replayed = await DeadLetters(running.fold).replay(id, "anna", MENDED)
    assert replayed["outcome"] == "replayed"
    assert await seen(running.database, LAST, ["g", "l", "x"])
    assert {customer for customer, state in (await states(running.database)).items() if state.count} == {LAST}
    async with running.database.connection() as tx:
        value = await tx.fetchval(f'SELECT value FROM log."{REWARDS}"')
        stamp = await tx.fetchval("SELECT stamp FROM toy.dead_letters")
    fact = msgspec.json.decode(value)
    assert (fact["subject"], fact["stamp"], stamp) == (LAST, "2/2/0/1", "2/2/0/0")


async def test_a_replay_waits_for_the_batch_in_hand(running: Running) -> None:
    """So that its stamp says where in the order it came, and two replays at once are one."""
    await journal(running.database, did(GONE, "x", fail="no"))
    id = await letter(running)
    letters = DeadLetters(running.fold)
    async with running.database.transaction() as tx:
        await running.fold.positions.load(tx, running.fold.tps[1], lock=True)
        replays = [asyncio.create_task(letters.replay(id, by, MENDED)) for by in ("anna", "bob")]
        done, _ = await asyncio.wait(replays, timeout=0.3)
        assert not done
    results = await asyncio.gather(*replays, return_exceptions=True)
    assert sum(isinstance(result, Conflict) for result in results) == 1
    assert await seen(running.database, GONE, ["x"])


class Away(Toy):
    """Refuses as a database does that is going down, while `away`."""

    away = False

    async def rules(self, tx: Tx, rulebook: int) -> int:
        if self.away:
            raise Unavailable("not now")
        return rulebook


async def test_an_outage_is_no_failure_of_the_record(toy: Database) -> None:
    decider = Away()
    async with Running(toy, decider) as service:
        await journal(toy, did(GONE, "x", fail="no"))
        id = await letter(service)
        decider.away = True
        with pytest.raises(Unavailable):
            await DeadLetters(service.fold).replay(id, "anna", MENDED)
        decider.away = False
        await DeadLetters(service.fold).replay(id, "anna", MENDED)
    assert await seen(toy, GONE, ["x"])


async def test_replayed_and_died_again_leaves_nothing(running: Running) -> None:
    await journal(running.database, did(GONE, "a"), did(GONE, "b"), did(GONE, "x", fail="no"))
    id = await letter(running)
    with pytest.raises(Conflict, match="fails again, with ValueError: no"):
        await DeadLetters(running.fold).replay(id, "anna")
    assert await facts(running.database) == []
    await DeadLetters(running.fold).replay(id, "anna", MENDED)
    assert len(await facts(running.database)) == 1


@pytest.mark.parametrize("value", [b"5", b"[]", b'"text"', b"{}", b"\xff"])
async def test_what_is_no_record_cannot_be_mended(running: Running, value: bytes) -> None:
    await journal(running.database, Outgoing(GONE, value, NOW))
    id = await letter(running)
    with pytest.raises(Invalid, match="not a CloudEvent"):
        await DeadLetters(running.fold).replay(id, "anna", MENDED)
