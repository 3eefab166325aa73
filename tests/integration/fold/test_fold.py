"""The fold on real PostgreSQL: exactly once inside, whatever dies."""

import asyncio
import signal
import uuid

import pytest

from libs.common.contracts.profile import JOURNAL
from libs.common.db.pool import Database
from libs.common.errors import Conflict
from libs.common.fold.dead_letters import DeadLetters
from libs.common.log.append import Outgoing, append
from libs.common.log.partition import partition_of
from libs.common.settings import Settings
from tests.integration.fold.conftest import Start
from tests.integration.fold.toy import Running
from tests.integration.fold.world import CUSTOMERS, did, facts, journal, left, merged, seen, states
from tests.support import eventually


async def test_counts_each_record_once_in_order(running: Running) -> None:
    for batch in range(20):
        await journal(running.database, *(did(customer, f"{batch}-{customer}") for customer in CUSTOMERS))
    await eventually(running.caught_up)
    for customer, state in (await states(running.database)).items():
        assert state.seen == [f"{batch}-{customer}" for batch in range(20)]
    made = await facts(running.database)
    assert len(made) == len(set(made)) == 6 * len(CUSTOMERS)


async def test_a_merge_waits_until_the_other_has_left(running: Running) -> None:
    """`merged` may be read long before `left`, which lies in another partition behind a paused reader."""
    stays = CUSTOMERS[0]
    gone = next(other for other in CUSTOMERS if partition_of(other, 8) != partition_of(stays, 8))
    await journal(running.database, did(gone, "g1"), did(stays, "s1"), merged(stays, gone), did(stays, "s2"))
    await eventually(lambda: seen(running.database, stays, ["s1"]))
    await journal(running.database, did(gone, "g2"), left(gone, stays))
    await eventually(lambda: seen(running.database, stays, ["s1", "g1", "g2", "s2"]))
    async with running.database.connection() as tx:
        assert str(await running.handler.customers.survivor(tx, uuid.UUID(gone))) == stays


async def test_poison_goes_to_the_dead_letters_alone_and_can_be_mended(running: Running) -> None:
    customer = CUSTOMERS[0]
    await journal(running.database, did(customer, "a"), did(customer, "b", fail="no"), did(customer, "c"))
    await eventually(running.caught_up)
    assert (await states(running.database))[customer].seen == ["a", "c"]
    letters = DeadLetters(running.fold)
    (letter,) = await letters.page(waiting=True, limit=10, cursor=None)
    assert letter["error"] == "ValueError: no"
    assert letter["origin"]["topic"] == JOURNAL
    id = uuid.UUID(letter["id"])
    with pytest.raises(Conflict, match="fails again"):
        await letters.replay(id, "anna")
    replayed = await letters.replay(id, "anna", {"event": "Did"})
    assert replayed["outcome"] == "replayed"
    with pytest.raises(Conflict, match="already"):
        await letters.replay(id, "anna")
    state = (await states(running.database))[customer]
    assert state.seen == ["a", "c", "b"]
    assert len(await facts(running.database)) == 1


async def test_a_record_that_is_no_json_is_kept_readable(running: Running) -> None:
    bad = Outgoing(CUSTOMERS[0], b"\x00\xff not json", did(CUSTOMERS[0], "x").time)
    await journal(running.database, bad, did(CUSTOMERS[0], "y"))
    await eventually(running.caught_up)
    letters = DeadLetters(running.fold)
    (letter,) = await letters.page(waiting=True, limit=10, cursor=None)
    assert (await letters.read(uuid.UUID(letter["id"])))["record"] == {"base64": "AP8gbm90IGpzb24="}
    assert (await states(running.database))[CUSTOMERS[0]].seen == ["y"]
    discarded = await letters.discard(uuid.UUID(letter["id"]), "anna", "not a record")
    assert (discarded["outcome"], discarded["reason"]) == ("discarded", "not a record")
    assert await letters.page(waiting=True, limit=10, cursor=None) == []


@pytest.mark.parametrize("point", ["fold.fenced", "fold.decided", "fold.written", "fold.committed"])
async def test_killed_at_each_step_of_the_transaction(toy: Database, child: Start, point: str) -> None:
    """Two processes die in mid-batch, a third goes on: every record is applied once, every fact there once."""
    for batches in (range(4), range(4, 9)):
        for batch in batches:
            await journal(toy, *(did(customer, f"{batch}-{customer}") for customer in CUSTOMERS))
        process = await child(RAPPORT_FAILPOINTS=f"{point}=kill:1")
        assert await asyncio.wait_for(process.wait(), 20) == -signal.SIGKILL
    async with Running(toy) as service:
        await eventually(service.caught_up)
    assert {customer: state.count for customer, state in (await states(toy)).items()} == dict.fromkeys(CUSTOMERS, 9)
    made = await facts(toy)
    assert len(made) == len(set(made)) == 3 * len(CUSTOMERS)


async def test_a_frozen_owner_is_replaced_and_its_return_does_no_harm(toy: Database, child: Start) -> None:
    await journal(toy, *(did(customer, f"0-{customer}") for customer in CUSTOMERS))
    frozen = await child(RAPPORT_FAILPOINTS="fold.decided=stop:1")
    async with Running(toy) as service:
        await journal(toy, *(did(customer, f"1-{customer}") for customer in CUSTOMERS))
        await eventually(service.caught_up)
        frozen.send_signal(signal.SIGCONT)
        await journal(toy, *(did(customer, f"2-{customer}") for customer in CUSTOMERS))
        await eventually(service.caught_up)
        frozen.kill()
        await frozen.wait()
        await eventually(service.caught_up)
    for customer, state in (await states(toy)).items():
        assert state.seen == [f"{batch}-{customer}" for batch in range(3)]
    made = await facts(toy)
    assert len(made) == len(set(made)) == len(CUSTOMERS)


async def test_connections_terminated_in_a_storm(running: Running, settings: Settings) -> None:
    killer = await running.database.session("killer")
    for batch in range(10):
        await journal_again(killer, *(did(customer, f"{batch}-{customer}") for customer in CUSTOMERS))
        await killer.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()"
        )
    await killer.close()
    await eventually(lambda: _away_or(running.caught_up))
    assert {state.count for state in (await states(running.database)).values()} == {10}
    assert len(set(await facts(running.database))) == 3 * len(CUSTOMERS)


async def journal_again(connection: object, *records: Outgoing) -> None:
    async with connection.transaction():  # type: ignore[attr-defined]
        await append(connection, JOURNAL, records, 8)  # type: ignore[arg-type]


async def _away_or(ask: object) -> bool:
    try:
        return bool(await ask())  # type: ignore[operator]
    except Exception:
        return False
