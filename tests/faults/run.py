"""One run: the workload of a seed, its faults meanwhile, rest, and what came out against the model."""

import asyncio
import random
import time
from collections import Counter
from dataclasses import dataclass, field

from tests.faults import aftermath, draw, workload
from tests.faults.answers import differences
from tests.faults.client import Client
from tests.faults.faults import Fault
from tests.faults.model import expected
from tests.faults.observe import Before, before, dead_letters, observed
from tests.faults.recovery import Recovery
from tests.faults.rest import at_rest
from tests.faults.stage import Stage
from tests.faults.workload import Adjust, Workload

#: The workload is spread over so many seconds; faults strike in the first two.
SECONDS = 3.0
#: Webhooks of one process to one endpoint that may be under way when it dies.
UNDER_WAY = 4


@dataclass
class Run:
    """What is decided beforehand, and what came of it: `wrong` is empty when all is as it must be."""

    seed: int
    log: str
    faults: list[tuple[float, Fault]]
    workload: Workload
    adjusted: list[Adjust] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    seconds: float = 0.0
    recovery: float = 0.0
    stood: float = 0.0
    retries: int = 0
    reached: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        what = ", ".join(f"{fault} @{at:.1f}" for at, fault in self.faults) or "no fault"
        what += f" (died at {', '.join(self.reached)})" if self.reached else ""
        verdict = "ok" if not self.wrong else f"FAILED: {len(self.wrong)} differences"
        return (
            f"seed {self.seed} {self.log}: {what}; {len(self.workload.events)} events, {self.retries} retries,"
            f" lag fell within {self.stood:.1f} s, at rest {self.recovery:.1f} s after it; {self.seconds:.1f} s: {verdict}"
        )


def plan(seed: int, log: str, disk: bool, namespace: str = "") -> Run:
    """Everything that a seed decides; `namespace` lets the same seed be played twice on one stage."""
    chance = random.Random(f"faults {seed} {log}")  # noqa: S311 (a seed is the point)
    said = workload.make(seed, f"{namespace or 'r'}{seed}{log[0]}")
    return Run(seed, log, draw.pick(chance, log, disk), said, list(said.adjustments))


async def play(stage: Stage, run: Run) -> Run:
    """Play a run on a stage at rest. What goes wrong on the way is one of the differences too."""
    begun = time.monotonic()
    stage.begin()
    client = Client(stage.platform.urls, stage.platform.tokens)
    recovery = Recovery(stage, {fault.victim for _, fault in run.faults})
    try:
        start = await before(stage)
        async with recovery.watching():
            quiet = await _under_fire(stage, client, run, recovery)
            await at_rest(stage)
        run.recovery = time.monotonic() - quiet
        for _, fault in run.faults:
            await fault.after(stage)
        await at_rest(stage)
        dead = await _mend(stage, run)
        await at_rest(stage)
        run.wrong += await aftermath.play(stage, client, run.workload, run.adjusted)
        await at_rest(stage)
        run.wrong += await verdict(stage, run, start, dead)
    except Exception as error:
        run.wrong += _told(error)
    finally:
        await client.close()
    run.stood = recovery.standing.longest
    run.wrong += recovery.standing.wrong
    run.retries, run.reached = client.retries, list(stage.reached)
    run.seconds = time.monotonic() - begun
    return run


async def _under_fire(stage: Stage, client: Client, run: Run, recovery: Recovery) -> float:
    """Returns when every request is acknowledged and every fault has ended: the moment from which on there was none, and
    nothing left to say for the first time."""
    chance = random.Random(run.seed)  # noqa: S311
    quiet = time.monotonic() + SECONDS

    async def strike(at: float, fault: Fault) -> None:
        nonlocal quiet
        await asyncio.sleep(at)
        with recovery.striking():
            await fault.strike(stage)
        quiet = max(quiet, time.monotonic())

    async with asyncio.TaskGroup() as group:
        group.create_task(client.send_all(run.workload.requests, SECONDS, chance))
        for adjust in run.workload.adjustments:
            group.create_task(client.adjust(adjust, chance))
        for at, fault in run.faults:
            group.create_task(strike(at, fault))
    return quiet


async def verdict(stage: Stage, run: Run, start: Before, dead: frozenset[tuple[str, str]]) -> list[str]:
    """All that differs from the model, and what no fault explains. Changes nothing: it can be asked again."""
    found = await observed(stage, run.workload, start, dead)
    return differences(expected(run.workload, run.adjusted), found) + _unexplained(stage, run, start)


async def _mend(stage: Stage, run: Run) -> frozenset[tuple[str, str]]:
    """Mend and replay the dead letters, as an operator would; which there were."""
    mended = {said.message: said for said in run.workload.poison}
    dead = await dead_letters(stage)
    for service, id, message in dead:
        if message not in mended:
            continue
        letter = await stage.get(service, f"/v1/{service}/dead-letters/{id}", "operator")
        data = letter.json()["record"]["data"]
        data["properties"] = mended[message].properties(mended=True)
        await stage.post(service, f"/v1/{service}/dead-letters/{id}/replay", {"data": data}, "operator")
    return frozenset((service, message) for service, _, message in dead)


def _unexplained(stage: Stage, run: Run, start: Before) -> list[str]:
    """Restarts that no fault asked for, and webhooks that came more often than one process's death explains."""
    wrong = [
        f"{part} ended {count} times, the faults explain {stage.explained[part]}"
        for part, count in stage.restarts.items()
        if count > stage.explained[part]
    ]
    copies = Counter(headers["webhook-id"] for headers, _ in stage.receiver.came[start.received :])
    more = {id: count for id, count in copies.items() if count > 1}
    struck = sum(max(1, fault.deaths) for _, fault in run.faults if fault.victim == "triggers")
    if sum(more.values()) - len(more) > UNDER_WAY * struck:
        wrong.append(f"{len(more)} webhooks came more than once, {more}, and triggers was struck {struck} times")
    return wrong


def _told(error: BaseException) -> list[str]:
    """An error's own words; those of all in a group."""
    if isinstance(error, BaseExceptionGroup):
        return [line for each in error.exceptions for line in _told(each)]
    return [f"{type(error).__name__}: {error}"]
