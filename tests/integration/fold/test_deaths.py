"""What ends a process is found and left out in the end; whatever else was in hand when it died is not."""

import asyncio
import signal

import pytest

from libs.common.contracts.profile import JOURNAL
from libs.common.db.pool import Database, Tx
from libs.common.errors import Unavailable
from libs.common.log.append import append
from tests.integration.fold.conftest import Start
from tests.integration.fold.toy import Running, Toy
from tests.integration.fold.world import (
    PARTITIONS,
    customer_in,
    dead,
    deaths,
    did,
    journal,
    left,
    merged,
    seen,
    states,
)
from tests.support import eventually

EVERYWHERE = [customer_in(partition) for partition in range(8)]


async def test_a_record_that_kills_the_process_is_buried_and_no_other(toy: Database, child: Start) -> None:
    """Each death is in the midst of the first batches of all eight partitions, time and again at the same positions."""
    await journal(toy, *(did(customer, f"{n}-{customer}") for n in range(2) for customer in EVERYWHERE[:4]))
    await journal(toy, did(EVERYWHERE[4], "killer", fail="die"))
    await journal(toy, *(did(customer, f"{n}-{customer}") for n in range(2) for customer in EVERYWHERE[4:]))
    died = 0
    while not await dead(toy):
        process = await child()
        ended = asyncio.create_task(process.wait())
        await eventually(lambda ended=ended: _either(ended, toy))  # type: ignore[misc]
        if ended.done():
            assert ended.result() == -signal.SIGKILL
            died += 1
            assert died < 6
    async with Running(toy) as service:
        await eventually(service.caught_up)
    assert await dead(toy) == [("killer", "RuntimeError: the process died 3 times on it")]
    assert {customer: state.count for customer, state in (await states(toy)).items()} == dict.fromkeys(EVERYWHERE, 2)


async def _either(ended: "asyncio.Task[int]", database: Database) -> bool:
    return ended.done() or bool(await dead(database))


class Unreadable(Toy):
    """Its rulebook is one that this release cannot read; or is, while `error` is None."""

    error: Exception | None = None

    async def rules(self, tx: Tx, rulebook: int) -> int:
        if self.error:
            raise self.error
        return rulebook


@pytest.mark.parametrize("error", [LookupError("there is no rulebook 7"), Unavailable("not now"), OSError("away")])
async def test_restarts_while_something_is_away_are_no_deaths(toy: Database, error: Exception) -> None:
    """Nor are records poison because the rules are: whoever restarts a service four times must not lose any."""
    decider = Unreadable()
    decider.error = error
    await journal(toy, did(EVERYWHERE[0], "a"), did(EVERYWHERE[0], "b"))
    for _ in range(4):
        async with Running(toy, decider) as service:
            await eventually(lambda service=service: _tried(service))  # type: ignore[misc]
    assert await deaths(toy) == 0
    decider.error = None
    async with Running(toy, decider) as service:
        await eventually(lambda: seen(toy, EVERYWHERE[0], ["a", "b"]))
    assert await dead(toy) == []


async def _tried(service: Running) -> bool:
    return bool(service.fold._started)


@pytest.mark.parametrize(("fail", "status", "said"), [("block", 1, b"decide"), ("hang", 70, b"no progress")])
async def test_the_watchdog_ends_a_process_that_stands_still(
    toy: Database, child: Start, fail: str, status: int, said: bytes
) -> None:
    """Whether its event loop goes on (a batch that never ends) or not (a loop in a decision)."""
    process = await child(TOY_WATCHDOG="3")
    await journal(toy, did(EVERYWHERE[0], "stuck", fail=fail))
    output, errors = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == status
    assert said in output + errors


async def test_the_watchdog_lets_who_waits_wait(toy: Database, child: Start) -> None:
    """For a merge whose other half has not come, and for a database that is away: neither is the process's fault."""
    process = await child(TOY_WATCHDOG="3")
    one, other, third = EVERYWHERE[:3]
    await journal(toy, did(third, "t0"), merged(one, other), did(one, "o1"))
    await eventually(lambda: seen(toy, third, ["t0"]))
    await _outlasts(process)
    async with toy.connection() as tx:
        name = await tx.fetchval("SELECT current_database()")
        await tx.execute(f'ALTER DATABASE "{name}" CONNECTION LIMIT 0')
        await tx.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND backend_type = 'client backend' AND application_name <> 'rapport-test'"
        )
        await append(tx, JOURNAL, [did(third, "t1")], PARTITIONS)
        await _outlasts(process)
        await tx.execute(f'ALTER DATABASE "{name}" CONNECTION LIMIT -1')
    await journal(toy, left(other, one))
    await eventually(lambda: seen(toy, one, ["o1"]))
    await eventually(lambda: seen(toy, third, ["t0", "t1"]))
    assert process.returncode is None


async def _outlasts(process: asyncio.subprocess.Process) -> None:
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(process.wait(), 8)
