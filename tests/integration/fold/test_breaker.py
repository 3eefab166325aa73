"""Many records fail: then it is our code that is bad, and nothing more is passed over."""

from libs.common.contracts.input import Input
from libs.common.db.pool import Database
from libs.common.fold.breaker import BAD, OTHERS
from libs.common.fold.dead_letters import DeadLetters
from libs.common.fold.decider import Decision
from libs.common.log.append import Outgoing
from tests.integration.fold.toy import Counted, Running, Toy
from tests.integration.fold.world import customer_in, dead, did, journal, seen
from tests.support import eventually, journal_record

ONE, OTHER = customer_in(1), customer_in(2)
FAILING = [f"f{number}" for number in range(BAD + 10)]


class Broken(Toy):
    """A release with an error, until it is mended."""

    mended = False

    def decide(self, state: Counted, input: Input, rules: int) -> Decision:
        if input.id.startswith("f") and not self.mended:
            raise KeyError("a mistake of ours")
        return super().decide(state, input, rules)


async def stands(service: Running) -> bool:
    return bool(service.fold.failure_log.stopped)


def said_by(app: str, customer: str, id: str, **data: str) -> Outgoing:
    return journal_record(customer, {"event": "Did", **data}, id=id, source=f"/apps/{app}")


async def test_it_stands_also_after_a_restart_until_it_is_mended(toy: Database) -> None:
    await journal(toy, *(did(ONE, id) for id in FAILING), did(ONE, "good"), did(OTHER, "other"))
    async with Running(toy, Broken()) as service:
        await eventually(lambda: stands(service))
        await eventually(lambda: seen(toy, OTHER, ["other"]))
        (stopped,) = service.fold.failure_log.stopped.values()
        assert f"{BAD} of the last" in stopped.sentence()
    dead_lettered = await dead(toy)
    assert [id for id, _ in dead_lettered] == FAILING[:BAD]
    broken = Broken()
    async with Running(toy, broken) as service:
        await eventually(lambda: stands(service))
        assert await dead(toy) == dead_lettered
        broken.mended = True
        await eventually(lambda: seen(toy, ONE, [*FAILING[BAD:], "good"]))
        assert not service.fold.failure_log.stopped
    assert await dead(toy) == dead_lettered


async def test_an_operator_lets_it_pass_over_what_has_come_so_far(toy: Database) -> None:
    await journal(toy, *(did(ONE, id) for id in FAILING), did(ONE, "good"))
    async with Running(toy, Broken()) as service:
        await eventually(lambda: stands(service))
        await DeadLetters(service.fold).skip("anna", "the old app's nonsense")
        await eventually(lambda: seen(toy, ONE, ["good"]))
        assert [id for id, _ in await dead(toy)] == FAILING
        await journal(toy, did(ONE, "f-later"))
        await eventually(lambda: stands(service))
    assert len(await dead(toy)) == len(FAILING)


async def test_one_app_that_sends_nonsense_stops_nobody(running: Running) -> None:
    database = running.database
    await journal(database, said_by("bad", ONE, "first", fail="nonsense"))
    await eventually(running.caught_up)
    await journal(database, *(said_by("good", OTHER, f"g{number}") for number in range(OTHERS)))
    await eventually(running.caught_up)
    await journal(database, *(said_by("bad", ONE, id, fail="nonsense") for id in FAILING), said_by("good", ONE, "good"))
    await eventually(lambda: seen(database, ONE, ["good"]))
    assert len(await dead(database)) == len(FAILING) + 1
