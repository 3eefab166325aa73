"""A few runs on each log (`make faults` plays hundreds); and that a run would notice: an answer that is doctored fails."""

import random
import re
from pathlib import Path

import pytest

from tests.faults import draw
from tests.faults.disk import mountable
from tests.faults.faults import Clock, Fault, KillAt, Worker
from tests.faults.observe import Before, before
from tests.faults.outages import Broker, FullDisk, Server, Storm
from tests.faults.recovery import Seen, Standing
from tests.faults.run import Run, plan, play, verdict
from tests.faults.stage import Stage

ROOT = Path(__file__).parents[2]

#: What is done to the platform behind its back: a table, and how it is changed.
DOCTORED = {
    "an event is lost": (
        'log."profile.journal"',
        "DELETE FROM log.\"profile.journal\" WHERE position('/apps/'::bytea IN value) > 0 AND ctid ="
        " (SELECT max(ctid) FROM log.\"profile.journal\" WHERE position('/apps/'::bytea IN value) > 0)",
    ),
    "a message is sent twice": (
        "triggers.deliveries",
        "INSERT INTO triggers.deliveries SELECT (jsonb_populate_record(d, jsonb_build_object('id', gen_random_uuid()))).*"
        " FROM triggers.deliveries d LIMIT 1",
    ),
    "a message is not sent": (
        "triggers.deliveries",
        "UPDATE triggers.deliveries SET state = 'failed' WHERE id = (SELECT id FROM triggers.deliveries LIMIT 1)",
    ),
    "a point too much": (
        "rewards.entries",
        "UPDATE rewards.entries SET points = points + 1 WHERE ctid = (SELECT min(ctid) FROM rewards.entries)",
    ),
    "an order too much": (
        "metrics.daily_sales",
        "UPDATE metrics.daily_sales SET orders = orders + 1 WHERE ctid = (SELECT min(ctid) FROM metrics.daily_sales)",
    ),
    # of this run's people: others' tests have used the platform too
    "an identifier leads nowhere": (
        "profile.identifiers",
        "DELETE FROM profile.identifiers WHERE ctid = (SELECT min(ctid) FROM profile.identifiers WHERE value LIKE 't1p-%')",
    ),
    "a day is forgotten": (
        "metrics.active_days",
        "DELETE FROM metrics.active_days WHERE customer IN"
        " (SELECT customer FROM metrics.identifiers WHERE value LIKE 't1p-%')",
    ),
    "a badge is lost": (
        "rewards.daily_totals",
        "DELETE FROM rewards.daily_totals WHERE kind = 'badges'",
    ),
}


def under(seed: int, log: str, *struck: Fault) -> Run:
    """The workload of a seed under these faults."""
    run = plan(seed, log, disk=False, namespace="t")
    run.faults = [(0.5 * (place + 1), fault) for place, fault in enumerate(struck)]
    return run


async def test_what_is_doctored_is_found(stage: Stage) -> None:
    """Each of these must never happen; the checker says so, and is content when it is undone."""
    start = await before(stage)
    run = await play(stage, under(1, "postgres"))
    assert not run.wrong, "\n".join([str(run), *run.wrong, *stage.said])
    dead = frozenset((said.poison, said.message) for said in run.workload.poison)
    connection = await stage.database()
    for name, (table, change) in DOCTORED.items():
        await connection.execute(f"CREATE TABLE kept AS TABLE {table}; {change}")
        assert await verdict(stage, run, start, dead), f"not noticed: {name}"
        await connection.execute(f"DELETE FROM {table}; INSERT INTO {table} SELECT * FROM kept; DROP TABLE kept")
    await connection.close()
    await _doctored_webhooks(stage, run, start, dead)
    stage.restarts["metrics"] += 1
    assert any("metrics ended 1 times" in line for line in await verdict(stage, run, start, dead))
    stage.restarts.clear()
    assert any("dead" in line for line in await verdict(stage, run, start, dead | {("rewards", "a good one")}))
    assert await verdict(stage, run, start, dead) == []


async def _doctored_webhooks(stage: Stage, run: Run, start: Before, dead: frozenset[tuple[str, str]]) -> None:
    came = stage.receiver.came
    headers, body = came[-1]
    came.append((headers, body))
    assert any("more than once" in line for line in await verdict(stage, run, start, dead))
    came[-1] = ({**headers, "webhook-id": "another"}, body)
    assert any("ids[" in line for line in await verdict(stage, run, start, dead))
    del came[-2:]
    assert any("ids[" in line for line in await verdict(stage, run, start, dead))
    came.append((headers, body))


#: Where a small disk can be mounted, PostgreSQL's is filled.
FULL = (FullDisk(1.5),) if mountable() else ()


@pytest.mark.parametrize(
    ("seed", "struck"),
    [
        (3, (KillAt("rewards", "fold.decided", 3), Server("immediate"), Clock("profile", -1, 1.5))),
        (4, (KillAt("profile", "fold.committed", 4), Storm(3), Worker("triggers", 2.5, "kill"), *FULL)),
    ],
    ids=["PostgreSQL goes", "connections and disk go"],
)
async def test_nothing_is_lost_or_doubled(stage: Stage, seed: int, struck: tuple[Fault, ...]) -> None:
    run = await play(stage, under(seed, "postgres", *struck))
    assert not run.wrong, "\n".join([str(run), *run.wrong, *stage.said])


async def test_nothing_is_lost_or_doubled_over_kafka(kafka_stage: Stage) -> None:
    struck = (KillAt("rewards", "forwarder.sent", 2), Broker(1.0), KillAt("triggers", "delivery.sent", 1))
    run = await play(kafka_stage, under(5, "kafka", *struck))
    assert not run.wrong, "\n".join([str(run), *run.wrong, *kafka_stage.said])


def test_every_point_at_which_services_are_killed_is_passed_somewhere() -> None:
    """A point that was renamed would be a fault that never strikes."""
    sources = [path.read_text() for part in ("libs", "services") for path in (ROOT / part).rglob("*.py")]
    passed = {name for text in sources for name in re.findall(r'failpoint\("([^"]+)"\)', text)}
    chance = random.Random(1)  # noqa: S311
    drawn = {
        fault.point for _ in range(3000) for _, fault in draw.pick(chance, "kafka", True) if isinstance(fault, KillAt)
    }
    elsewhere = ("scorer.", "rebuild.", "erasure.", "erasures.")  # no run asks for those
    assert drawn == {point for point in passed if not point.startswith(elsewhere)}


def test_who_stands_still_is_told_of() -> None:
    """Behind and not moved for longer than the bound: once. Who moves, has nothing to read, or is excused is not."""
    standing = Standing(bound=10)
    stuck, moving, idle = ("rewards", "fold", "a"), ("rewards", "fold", "b"), ("rewards", "fold", "c")
    for second in range(40):
        standing.saw([Seen(stuck, 5, True), Seen(moving, second // 10, True), Seen(idle, 7, False)], float(second))
        if second == 8:
            standing.excused()
        assert bool(standing.wrong) == (second > 19), second
    assert standing.wrong == ["rewards fold a is behind and has not moved for 10 s"]


def test_a_seed_decides_everything() -> None:
    one, other = plan(7, "kafka", True), plan(7, "kafka", True)
    assert (one.faults, one.workload) == (other.faults, other.workload)
    assert one.workload != plan(8, "kafka", True).workload
